"""`socketlab lab`: JupyterLab in the project's folder, on loopback and with a token."""

from typing import Annotated

import typer

from socketlab.cli.terminal import say


def lab(
    ip: Annotated[str, typer.Option(help="where it listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 0,
    expose: Annotated[
        bool, typer.Option("--expose", help="allow an address that other machines can reach")
    ] = False,
    browser: Annotated[bool, typer.Option(help="open it in a browser of this machine")] = True,
) -> None:
    """Serve JupyterLab to whoever has the address with its token, until Ctrl+C.

    From another machine, reach it through ssh: `ssh -N -L 8888:127.0.0.1:PORT you@server`. The
    token is that in the environment variable JUPYTER_TOKEN, or a fresh one.
    """
    from socketlab.runs import lab as labs
    from socketlab.runs.addresses import is_loopback
    from socketlab.runs.places import home

    labs.check_address(ip, expose)
    if not is_loopback(ip):
        say(f"Warning: {labs.EXPOSED}.")
    say("Open this address; Ctrl+C ends it:")
    labs.serve(home(), ip=ip, port=port, browser=browser, say=say)
