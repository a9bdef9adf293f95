"""How a face speaks to a trainer in another process: empty files under `control/`."""

import os
from pathlib import Path
from typing import Literal, get_args

Request = Literal["pause", "stop", "sample-now", "save-now"]
REQUESTS: tuple[Request, ...] = get_args(Request)


class Control:
    """The requests that lie before a run.

    A face writes them. The trainer polls them between steps and clears each when it is done, except
    `pause`, which lasts until a face clears it. A trainer that starts clears them all: what was
    asked of an earlier process is not meant for it.

    Args:
        folder: the run folder; `control/` is made when something is requested.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder) / "control"

    def pending(self) -> frozenset[Request]:
        """Look once for all requests; cheap enough for every step.

        Returns:
            The requests that lie there.
        """
        try:
            names = os.listdir(self.folder)  # one listing for all, about 10 us on a local disk
        except FileNotFoundError:
            return frozenset()
        return frozenset(name for name in REQUESTS if name in names)

    def wants(self, request: Request) -> bool:
        """Whether something is requested.

        Args:
            request: one of `REQUESTS`.
        Returns:
            True while the request lies there.
        """
        return self._path(request).exists()

    def request(self, request: Request) -> None:
        """Ask the trainer for something; asking twice is asking once.

        Args:
            request: one of `REQUESTS`.
        """
        path = self._path(request)
        self.folder.mkdir(parents=True, exist_ok=True)
        path.touch()

    def clear(self, *requests: Request) -> None:
        """Take requests back, or mark them as done.

        Args:
            requests: some of `REQUESTS`; none given means all.
        """
        for request in requests or REQUESTS:
            self._path(request).unlink(missing_ok=True)

    def _path(self, request: Request) -> Path:
        # A name that came from a browser must not become a path.
        if request not in REQUESTS:
            raise ValueError(f"request must be one of {', '.join(REQUESTS)}, got {request!r}")
        return self.folder / request
