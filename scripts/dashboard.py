"""Show the runs in a browser: trackio's page over the local files of the runs folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before a `scripts` that lies on PYTHONPATH

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("dashboard", paths=("runs",))
def main(config: DictConfig) -> None:
    """Serve until Ctrl-C."""
    import contextlib
    import io
    import os
    import threading
    import webbrowser

    from data.types import BadInputError
    from training.trackers.trackio import PLOT_ORDER, PROJECT, import_trackio

    runs = Path(config.runs)
    trackio = import_trackio(runs)
    os.environ.setdefault("TRACKIO_PLOT_ORDER", ",".join(PLOT_ORDER))
    if not any(Path(trackio.utils.TRACKIO_DIR).glob("*.db")):
        raise BadInputError(f"{runs}: no run has been logged here yet; try 'make quick'")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it advertises its own command
            server, url, _, _ = trackio.show(
                PROJECT, host=config.host, server_port=config.port, open_browser=False, block_thread=False, share=False
            )
    except OSError:
        raise BadInputError(f"port={config.port}: in use; choose another one") from None
    address = f"{url}?project={PROJECT}"
    print(f"dashboard: {address}   (Ctrl-C ends it)", flush=True)
    if config.open_browser:
        webbrowser.open(address)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.close()


if __name__ == "__main__":
    main()
