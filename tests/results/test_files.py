"""Files that are replaced: what they permit stays, links stay links, and nothing but a file is replaced."""

import os
import stat
import struct
import threading

import pytest

from contextmix.errors import OutputExists, OutputUnwritable
from contextmix.results.files import make_folder, refuse_place, write_atomically

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "map.json"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new", overwrite=True)
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="access lists of Linux")
def test_a_file_that_is_replaced_keeps_its_access_list(tmp_path):
    path, name, nobody = tmp_path / "map.json", "system.posix_acl_access", 0xFFFFFFFF
    path.write_bytes(b"old")
    # Tag, rights and number of: the owner, user 1234, the group, the most that these two may, and all others.
    entries = [(0x01, 6, nobody), (0x02, 4, 1234), (0x04, 4, nobody), (0x10, 4, nobody), (0x20, 0, nobody)]
    granted = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, name, granted)
    except OSError as reason:
        pytest.skip(f"this file system has no access lists: {reason}")
    write_atomically(path, b"new", overwrite=True)
    assert (path.read_bytes(), os.getxattr(path, name)) == (b"new", granted)


@posix
def test_what_was_private_never_lies_open(tmp_path, monkeypatch):
    path, seen = tmp_path / "map.json", []
    path.write_bytes(b"old")
    path.chmod(0o600)
    real = os.fsync

    def looked_at(descriptor):
        seen.extend(mode_of(part) for part in tmp_path.glob(".*.part"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", looked_at)
    write_atomically(path, b"secret", overwrite=True)
    assert seen == [0o600]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only an administrator gives files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path):
    path = tmp_path / "map.json"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_atomically(path, b"new", overwrite=True)
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (1234, 4321, 0o640)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only an administrator gives files away")
def test_where_the_group_cannot_be_kept_another_group_gets_no_rights_of_it(tmp_path, monkeypatch):
    path = tmp_path / "map.json"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    path.chmod(0o664)

    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    write_atomically(path, b"new", overwrite=True)
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o644)


@posix
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_link_stays_one_and_what_it_names_is_written(tmp_path, there, steps):
    make_folder(tmp_path / "elsewhere")
    target, link = tmp_path / "elsewhere" / "real.json", tmp_path / "map.json"
    if there:
        target.write_bytes(b"old")
        target.chmod(0o600)
    named = target
    for step in range(steps - 1):
        (tmp_path / f"step{step}").symlink_to(named)
        named = tmp_path / f"step{step}"
    link.symlink_to(os.path.relpath(named, tmp_path))
    if there:
        with pytest.raises(OutputExists):
            refuse_place(link)
    write_atomically(link, b"new", overwrite=there)
    assert link.is_symlink()
    assert target.read_bytes() == link.read_bytes() == b"new"
    assert not there or mode_of(target) == 0o600
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["real.json"]


@posix
def test_links_that_lead_nowhere(tmp_path):
    for name, target in {"loop": "loop", "gone": "nowhere/map.json", "folder": "."}.items():
        (tmp_path / name).symlink_to(target)
    for name, said in {"loop": "points to itself", "gone": "there is no folder", "folder": "is a folder"}.items():
        with pytest.raises(OutputUnwritable, match=said):
            write_atomically(tmp_path / name, b"new", overwrite=True)
        assert (tmp_path / name).is_symlink()


@posix
@pytest.mark.parametrize("place", ["pipe", "device"])
def test_pipes_and_devices_are_not_replaced(tmp_path, place):
    path = tmp_path / "pipe"
    if place == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    for overwrite in (True, False):
        with pytest.raises(OutputUnwritable, match="a pipe or a device"):
            write_atomically(path, b"new", overwrite)
    assert not path.is_file()
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)  # noqa: PTH116  of the system itself


def test_whoever_reads_meanwhile_sees_all_of_one_content(tmp_path):
    path, wrong, over = tmp_path / "map.json", [], threading.Event()
    write_atomically(path, b"a" * 50_000)

    def read():
        while not over.is_set():
            content = path.read_bytes()
            if len(content) != 50_000 or len(set(content)) != 1:
                wrong.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        write_atomically(path, (b"a", b"b")[number % 2] * 50_000, overwrite=True)
    over.set()
    reader.join()
    assert not wrong


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputUnwritable, match=r"file.*(Not a directory|File exists)"):
        make_folder(tmp_path / "file" / "below")
