"""Git histories to mine."""

import subprocess

import pytest

from trm.data.sources import Source


class Repository:
    """A git repository that commits a text for a file at a time."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet")

    def git(self, *arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message, **files):
        """Files are named with __ for / and without .py."""
        for name, text in files.items():
            path = self.folder / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def change(self, message, old, new, **others):
        """Commit one replacement in bag.py."""
        text = (self.folder / "bag.py").read_text()
        assert text.count(old) == 1
        self.commit(message, bag=text.replace(old, new), **others)

    def source(self, name="owner/name", licence="MIT"):
        return Source(name, licence, self.git("rev-parse", "HEAD"), "library")


@pytest.fixture
def repository_at(tmp_path):
    """Makes an empty repository where the mirror below tmp_path has it."""
    return lambda name: Repository(tmp_path / "mirror" / name.replace("/", "+") / "repo")
