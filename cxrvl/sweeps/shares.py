"""Which GPUs do other sweeps on this machine use? A share of a GPU is a locked file, free again when its holders are gone."""

import fcntl
import os
import re
import stat
import tempfile
from pathlib import Path

from cxrvl.errors import RunError


class Shares:
    """Shares of GPUs, counted over all sweeps of one user on one machine that call the GPUs by the same names.

    The kernel gives a share back when the last process that holds its file ends, however it ends: the launcher, the
    job's guard, or a process of the job.

    Args:
        per_gpu: jobs on one GPU; of sweeps that differ in it the largest counts.
        folder: of the files; None = one of this user's in the temporary folder.
    """

    def __init__(self, per_gpu: int = 1, folder: Path | None = None) -> None:
        self.per_gpu = per_gpu
        self.folder = folder or Path(tempfile.gettempdir()) / f"cxrvl-gpus-{os.getuid()}"

    def take(self, gpu: str) -> int | None:
        """Return an open file that holds a share of a GPU; None where others hold all of them.

        Raises:
            RunError: the folder of the files belongs to somebody else.
        """
        self._make_folder()
        name = re.sub(r"[^\w.-]", "_", gpu)
        for share in range(self.per_gpu):
            file = os.open(self.folder / f"{name}.{share}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return file
        return None

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise RunError(
                f"{self.folder}, where sweeps note the GPUs they use, is not a folder of this user; remove it"
            )
