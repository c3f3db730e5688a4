"""uWSGI's command line and its environment variables."""

from __future__ import annotations

import pytest

from trio_uwsgi._program.command_line import takes_value
from trio_uwsgi._uwsgi_config.command_words import settings_of_environment, settings_of_words
from trio_uwsgi.errors import ConfigError

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-p 4 -s :3031 -w app -H venv -M", "processes=4 socket=:3031 module=app home=venv master=true"),
        ("-p4 -Mp2 -H/x -C666 -C", "processes=4 master=true processes=2 home=/x chmod-socket=666 chmod-socket="),
        (
            "--http-socket=:80 --master --mule --mule=x --env A=B",
            "http-socket=:80 master=true mule= mule=x env=A=B",
        ),
        ("--https :1,a,b --websockets --spooler-cheap", "https=:1,a,b websockets=true spooler-cheap=true"),
        ("--mercy 9 --chain-reload --unknown x.py", "mercy=9 chain-reload=true unknown=true wsgi-file=x.py"),
        ("a.ini -p 2 shop:app", "processes=2 module=shop:app ini=a.ini"),
        ("a.yml:x b.json c.xml:y d.yaml e.js", "yml=a.yml:x json=b.json xml=c.xml:y yaml=d.yaml js=e.js"),
    ],
)
def test_words(line: str, expected: str) -> None:
    """Long and short options, words behind them, and files, which come last."""
    found = settings_of_words(line.split(), takes_value)
    assert expected == " ".join(f"{setting.name}={setting.value}" for setting in found)
    assert {"command line"} == {str(setting.place) for setting in found}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--processes", "--processes needs a value; write it behind the option"),
        ("-p", "-p needs a value"),
        ("--master=1", "--master takes no value; write --master"),
        ("-K", "there is no option -K"),
        ("app.toml", "app.toml is no file of uWSGI; write --config app.toml"),
        ("/srv/x", "'/srv/x' is neither an option nor a file"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    """What is no command line of uWSGI is told."""
    with pytest.raises(ConfigError) as caught:
        settings_of_words(line.split(), takes_value)
    assert message in str(caught.value)


def test_environment() -> None:
    """Variables are options, whose names have underscores; others with the prefix are left alone."""
    found = settings_of_environment(
        {"UWSGI_HTTP_SOCKET": ":80", "UWSGI_SERVICE_HOST": "x", "HTTPS": "on", "UWSGI_P": "1"}
    )
    assert [("http-socket", ":80", "UWSGI_HTTP_SOCKET")] == [(s.name, s.value, str(s.place)) for s in found]
