"""The values of `https`."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest

from trio_uwsgi._runtime.opt import uwsgi_options
from trio_uwsgi.config import Address, Config, Tls
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure

PLAIN = Tls(address="127.0.0.1:8443", certificate="c.pem", key="k.pem")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8443,c.pem,k.pem", PLAIN),
        (" 127.0.0.1:8443 , c.pem , k.pem ", PLAIN),
        (":1,c,k,HIGH", Tls(address=":1", certificate="c", key="k", ciphers="HIGH")),
        (":1,c,k,,ca", Tls(address=":1", certificate="c", key="k", client_ca="ca")),
        (":1,c,k,,!ca", Tls(address=":1", certificate="c", key="k", client_ca="ca", client_required=True)),
        ("/run/s,c,k", Tls(address=Address.unix("/run/s"), certificate="c", key="k")),
    ],
)
def test_uwsgis_form(text: str, expected: Tls) -> None:
    """It is read as uWSGI reads it, and written in the same form."""
    assert expected == Tls.parse(text)
    assert expected == Tls.parse(str(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":1", "is not of uWSGI's form for HTTPS; write ADDRESS,CERTIFICATE,KEY"),
        (":1,c", "is not of uWSGI's form"),
        (":1,,k", "is not of uWSGI's form"),
        (":1,c,k,x,ca,more", "is not of uWSGI's form"),
        (":1,c,k,,!", "has no file after its '!'"),
        ("8443,c,k", "is a port without a host"),
    ],
)
def test_texts_that_are_refused(text: str, message: str) -> None:
    """The error says what is wrong with the text."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Tls.parse(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"address": 1}, "address=1 is not an address"),
        ({"certificate": None}, "HTTPS on :1 has no certificate"),
        ({"certificate": 5}, "certificate=5 is not a path"),
        ({"key": ""}, "key='' is not a path"),
        ({"client_ca": "a\0"}, "is not a path"),
        ({"ciphers": None}, "ciphers=None is not a list of OpenSSL"),
        ({"client_required": 1}, "client_required=1 is neither True nor False"),
        ({"client_required": True}, "client_required is set, but client_ca is not"),
        ({"sni": "x"}, "sni='x' is not a mapping"),
        ({"sni": {"x": "cert"}}, "sni has 'x': 'cert' in it"),
        ({"sni": {"": ("c", "k")}}, "sni has '': ('c', 'k') in it"),
        ({"context": "x"}, "context='x' is not an ssl.SSLContext"),
        ({"context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "contradicts certificate, key"),
    ],
)
def test_values_that_are_refused(fields: dict[str, Any], message: str) -> None:
    """So does that of a value."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Tls(**{"address": ":1", "certificate": "c", **fields})


def test_the_text_of_a_value() -> None:
    """A key in the file of the certificate, and a context of one's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert ":1,c,k" == str(Tls(address=":1", certificate="c", key="k", sni={"a.b": ("c", "k"), "*.b": ("d", "e")}))
    assert ":1,c,c" == str(Tls(address=":1", certificate="c"))
    assert f":1,{context!r}" == str(Tls(address=":1", context=context))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ()),
        ("127.0.0.1:8443,c.pem,k.pem", (PLAIN,)),
        (PLAIN, (PLAIN,)),
        ([":1,c,k", PLAIN], (Tls(address=":1", certificate="c", key="k"), PLAIN)),
        ([":0,c,k"] * 2, (Tls(address=":0", certificate="c", key="k"),) * 2),
    ],
)
def test_https_of_a_config(given: Any, expected: tuple[Tls, ...]) -> None:
    """One or several; without HTTP beside them, unless that was asked for."""
    config = Config(https=given)
    assert expected == config.tls
    assert (not expected) == bool(config.addresses)
    assert (Address.tcp("", 80),) == Config(http=":80", https=given).addresses
    assert hash(config) == hash(Config(https=given))


def test_it_is_in_uwsgis_options() -> None:
    """`uwsgi.opt` has it in uWSGI's form."""
    assert b"127.0.0.1:8443,c.pem,k.pem" == uwsgi_options(Config(https=PLAIN))["https"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"https": 1}, "https=1 is not of uWSGI's form, nor a Tls"),
        ({"https": [1]}, "https has 1 in it"),
        ({"https": [PLAIN, PLAIN]}, "https names 127.0.0.1:8443 twice"),
        ({"https": PLAIN, "http": "127.0.0.1:8443"}, "http and https both name 127.0.0.1:8443"),
        ({"https": PLAIN, "socket": "127.0.0.1:8443"}, "https and socket both name 127.0.0.1:8443"),
        (
            {"https": Tls(address=":1", context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), "placement": "process"},
            "cannot be passed on to processes",
        ),
    ],
)
def test_configs_that_are_refused(fields: dict[str, Any], message: str) -> None:
    """What is no value of https, and what contradicts another option."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**fields)


def test_a_unix_socket_has_a_mode() -> None:
    """chmod_socket is for sockets of HTTPS, too."""
    assert 0o660 == Config(https="/run/s,c,k", chmod_socket=0o660).chmod_socket
