"""The settings and the environment of a runtime that a `Config` describes."""

from __future__ import annotations

import random
import time
import zoneinfo
from typing import TYPE_CHECKING

from trio_uwsgi._http.limits import Limits
from trio_uwsgi._http.options import HttpOptions
from trio_uwsgi._runtime.opt import uwsgi_options
from trio_uwsgi._runtime.placement import in_task, over_memory
from trio_uwsgi._runtime.scripts import found_scripts
from trio_uwsgi._runtime.settings import Environment, Settings, StatsOptions
from trio_uwsgi._signals.targets import Headcount
from trio_uwsgi._signals.ticker import WallClock
from trio_uwsgi._units.journal import LoggingJournal
from trio_uwsgi.config.clock import SignalTimer
from trio_uwsgi.config.log_format import parse_log_format

if TYPE_CHECKING:
    from trio_uwsgi.config import Config

__all__ = ["environment_of", "settings_of"]

_SYSTEM_CLOCK = WallClock(time.time)


def environment_of(config: Config) -> Environment:
    """That of a real server."""
    placement = over_memory if config.placement == "memory" else in_task
    return Environment(
        journal=LoggingJournal(), wall=_SYSTEM_CLOCK, placement=placement, chance=random.SystemRandom().random
    )


def settings_of(config: Config) -> Settings:
    """What the runtime uses of the options.

    Raises:
        BootError: there is no script for a mule.
    """
    return Settings(
        headcount=Headcount(
            config.workers,
            config.mule_pool.max,
            config.spooler_options.count,
            min_mules=config.mule_pool.min,
            min_spoolers=0 if config.spooler_cheap else None,
            farms=config.farms,
            scripts=found_scripts("mule", config.mule),
        ),
        mule_idle=config.mule_pool.idle,
        signal_queue=config.signal_queue,
        message_queue=config.message_queue,
        harakiri=config.harakiri,
        mule_harakiri=config.mule_harakiri,
        mercy=config.mercy,
        drain_delay=config.drain_delay,
        lifespan=config.lifespan,
        http=_http_options(config),
        zone=None if config.timezone is None else zoneinfo.ZoneInfo(config.timezone),
        timers=tuple(map(SignalTimer.parse, config.timer)),
        caches=config.caches,
        queue=config.queue_options,
        metrics=config.metrics,
        locks=config.locks,
        areas=config.sharedarea,
        alarms=config.alarm_options,
        access=config.access_rules,
        node_timeout=config.node_timeout,
        spooler=config.spooler_options,
        stats=StatsOptions(http=config.stats_http, cores=config.threads or 1),
        chain_reload=config.chain_reload,
        script=None if config.python is None else found_scripts("python", [config.python])[0],
        recycling=config.recycling_limits,
        options=uwsgi_options(config),
    )


def _http_options(config: Config) -> HttpOptions:
    return HttpOptions(
        limits=Limits(max_header_size=config.max_header_size, max_headers=config.max_headers, max_body=config.max_body),
        timeouts=config.http_timeouts,
        websocket=config.websocket_options,
        load=config.load_limits,
        stream_ends=config.stream_ends,
        access_log=not config.disable_logging,
        log_format=() if config.log_format is None else parse_log_format(config.log_format),
        cancel_on_disconnect=config.cancel_on_disconnect,
        static=config.static_options,
        forwarded_allow=tuple(config.forwarded_allow),
        forwarded_headers=tuple(config.forwarded_headers),
        proxy_protocol=tuple(config.proxy_protocol),
        early_hints=config.early_hints,
        catch_exceptions=config.catch_exceptions,
        root_path=config.root_path,
        manage_script_name=config.manage_script_name,
        show_requests=bool(config.stats_addresses),
    )
