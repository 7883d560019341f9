"""Where candidates may write, and how that is cleared away. Standard library only, Python >= 3.8."""

import os
import shutil


class Place:
    """Where a candidate may write: a folder."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder, 0o700)

    def empty(self):
        """As it was made: what a candidate did to it is undone."""
        if os.stat(self.folder).st_mode & 0o7777 != 0o700:
            os.chmod(self.folder, 0o700)
        for entry in os.listdir(self.folder):
            remove(os.path.join(self.folder, entry))
        if hasattr(os, "listxattr"):
            for name in os.listxattr(self.folder):
                if name.startswith("user."):
                    os.removexattr(self.folder, name)

    def remove(self):
        remove(self.folder)


def remove(path):
    """Removes a folder or file that a candidate had, whatever modes it set."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            return os.unlink(path)
        return os.rmdir(path)
    except OSError:
        pass
    try:
        os.chmod(path, 0o700)
        for base, names, _ in os.walk(path):
            for name in names:
                inner = os.path.join(base, name)
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
    except OSError:
        pass
    shutil.rmtree(path, ignore_errors=True)
