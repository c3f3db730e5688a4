"""A Flask application, as it would be written for any server.

Shows      that a Flask object is served as it is; its view functions run in threads, four at once.
Try it     pip install flask
           python examples/hello_flask.py
           curl http://127.0.0.1:8000/
           curl --data-binary @README.md http://127.0.0.1:8000/length
Leaves out the uwsgi API, which view functions may call; see mule_messages.py.
"""

import flask
import trio

import trio_uwsgi

app = flask.Flask(__name__)
config = trio_uwsgi.Config(threads=4)


@app.get("/")
def hello() -> str:
    """Say hello."""
    return "hello from Flask\n"


@app.post("/length")
def length() -> dict[str, int]:
    """Read the body in pieces as it arrives, so that it is never in memory as a whole."""
    count = 0
    while piece := flask.request.stream.read(65536):
        count += len(piece)
    return {"bytes": count}


if __name__ == "__main__":
    trio.run(trio_uwsgi.serve, app, config)
