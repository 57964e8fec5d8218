"""The web page and its API: what they answer, and that an attack does them no harm."""

import http.client
import io
import json
import socket
import struct
import tempfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import nibabel as nib
import numpy as np
import pytest

from neuroprint.bundle import serve as serving
from neuroprint.bundle.answer import to_json
from neuroprint.bundle.bundle import Bundle
from neuroprint.bundle.serve import FOLDER, ZIP, Service
from neuroprint.bundle.upload import Limits
from neuroprint.errors import NeuroprintError

LIMITS = Limits(upload_bytes=8 << 20, files=20, unpacked_bytes=16 << 20, voxels=1 << 20, seconds=20)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    """Where the service puts uploads."""
    folder = tmp_path_factory.mktemp("uploads")
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = before


@contextmanager
def running(folder, limits=LIMITS):
    with Service(Bundle.open(folder), limits=limits) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield service
        service.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(bundle_folder, temporary):
    with running(bundle_folder) as service:
        yield service


@pytest.fixture(autouse=True)
def _nothing_stays(request, temporary):
    yield
    for _ in range(100):
        if not any(temporary.iterdir()):
            return
        time.sleep(0.02)
    raise AssertionError(f"left behind: {list(temporary.rglob('*'))}")


def ask(service, method="GET", path="/", body=None, kind=None, **headers):
    """Status, headers and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", service.server_address[1], timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | (
        {"Content-Type": kind} if kind else {}
    )
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def refusal(service, body, kind=ZIP, path="/api/query", **headers):
    status, _, content = ask(service, "POST", path, body, kind, **headers)
    return status, json.loads(content)["error"]


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def files_of(case, prefix=""):
    return {f"{prefix}{file.name}": file.read_bytes() for file in sorted(case.iterdir())}


@pytest.fixture(scope="module")
def newcomer(small_cohort):
    return small_cohort / "Small_00009"


@pytest.fixture(scope="module")
def expected(service, newcomer):
    return to_json(service.bundle.query(newcomer, 3, "grade"))


def test_the_page_and_what_it_needs_are_served_and_nothing_else(service):
    for path, kind in (("/", "text/html"), ("/serve.js", "text/javascript"), ("/serve.css", "text/css")):
        status, headers, content = ask(service, path=path)
        assert status == 200 and headers.get_content_type() == kind and content
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Frame-Options"] == "DENY"
    about = json.loads(ask(service, path="/api/bundle")[2])
    assert about["cases"] == 9 and about["groups"] == ["grade", "side"]
    for path in ("/../bundle.json", "/..%2f..%2fetc/passwd", "//etc/passwd", "/bundle.json", "/assets/serve.html",
                 "/serve.html", "/%2e%2e/serve.py", "/report"):  # fmt: skip
        assert ask(service, path=path)[0] == 404


@pytest.mark.parametrize("prefix", ["", "Small_00009/", "some where/Small_00009/"])
def test_a_zip_is_answered_as_the_command_answers(service, newcomer, expected, prefix):
    body = zipped({**files_of(newcomer, prefix), f"{prefix}.DS_Store": b"x", f"{prefix}notes.txt": b"x"})
    status, _, content = ask(service, "POST", "/api/query?k=3&group=grade", body, ZIP)
    assert status == 200 and json.loads(content) == expected


def test_a_folder_is_answered_as_the_command_answers(service, newcomer, expected):
    files = files_of(newcomer, "Small_00009/") | {"Small_00009/readme.txt": b"12345"}
    names = quote(json.dumps([[name, len(content)] for name, content in files.items()]))
    status, _, content = ask(
        service, "POST", "/api/query?k=3&group=grade", b"".join(files.values()), FOLDER, Neuroprint_Files=names
    )
    assert status == 200 and json.loads(content) == expected


def test_the_report_is_a_page(service, newcomer):
    status, headers, content = ask(service, "POST", "/report", zipped(files_of(newcomer)), ZIP)
    assert status == 200 and headers.get_content_type() == "text/html"
    assert b"Small_00009" in content and b"<script" not in content


def as_kaggle(name):
    return f"Small_00009/{name.removesuffix('.gz')}/0001_brain.nii.gz"


def as_bids(name):
    role = name.removesuffix(".nii.gz").rpartition("_")[2]
    series = {"t1": "T1w", "t1ce": "ce-gad_T1w", "t2": "T2w", "flair": "FLAIR", "seg": "dseg"}[role]
    return f"sub-09/ses-2/{'anat' if role != 'seg' else 'seg'}/sub-09_ses-2_{series}.nii.gz"


@pytest.mark.parametrize(("named", "case"), [(as_kaggle, "Small_00009"), (as_bids, "sub-09_ses-2")])
def test_an_upload_in_any_layout_that_is_known_is_answered(service, newcomer, expected, named, case):
    files = {named(name): content for name, content in files_of(newcomer).items()}
    status, _, content = ask(service, "POST", "/api/query?k=3&group=grade", zipped(files), ZIP)
    assert status == 200, content
    assert json.loads(content) == {**expected, "query": case}


def test_what_is_wrong_with_a_case_is_said_without_naming_a_folder(service, newcomer, temporary):
    files = files_of(newcomer)
    del files["Small_00009_t1.nii.gz"]
    status, said = refusal(service, zipped(files))
    assert status == 422 and "Small_00009_t1.nii.gz missing" in said and str(temporary) not in said
    status, said = refusal(service, zipped({"unheard_of.nii.gz": b"x"}))
    assert status == 422 and "holds no case" in said and str(temporary) not in said
    nothing = refusal(service, zipped({"a.txt": b"x"}))
    assert nothing[0] == 400 and "no .nii" in nothing[1]
    status, said = refusal(service, zipped({**files_of(newcomer, "a/"), **files_of(newcomer, "b/")}))
    assert status == 422 and "holds 2 case folder(s), expected a single case" in said and str(temporary) not in said
    assert refusal(service, b"no zip at all")[0] == 400
    assert refusal(service, b"")[0] == 400
    assert refusal(service, zipped(files_of(newcomer)), path="/api/query?group=gender")[0] == 422
    for k in ("0", "51", "x", "-1", "9" * 9, "9" * 4000, "%D9%A5"):
        assert refusal(service, b"", path=f"/api/query?k={k}")[0] == 400


@pytest.mark.parametrize("name", ["../x.nii.gz", "a/../../x.nii.gz", "/etc/x.nii.gz", "..\\x.nii.gz", "C:/x.nii.gz",
                                  "a/../x.nii.gz", "\\\\host\\x.nii.gz", ".."])  # fmt: skip
def test_names_that_point_out_of_the_upload_are_refused(service, newcomer, name):
    status, said = refusal(service, zipped({**files_of(newcomer), name: b"evil"}))
    assert status == 400 and "points out" in said
    names = quote(json.dumps([[name, 4]]))
    assert refusal(service, b"evil", FOLDER, Neuroprint_Files=names)[0] == 400


def test_names_that_only_some_systems_misread_are_refused(service, newcomer):
    for name in ("x\n.nii.gz", "-rf.nii.gz", "é.nii.gz", "a b.nii.gz", "x" * 200 + ".nii.gz"):
        assert refusal(service, zipped({**files_of(newcomer), name: b"x"}))[0] == 400


def test_links_and_encrypted_and_rare_zips_are_refused(service, newcomer):
    link = zipfile.ZipInfo("Small_00009_flair.nii.gz")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr(link, "/etc/passwd")
    assert refusal(service, buffer.getvalue()) == (400, "the zip holds a link, expected files only")
    assert refusal(service, zipped(files_of(newcomer), zipfile.ZIP_LZMA))[0] == 400
    locked = bytearray(zipped({"x_flair.nii": b"x"}))
    locked[6] |= 1  # the flag of encryption, in the file's own header and in the list of files
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refusal(service, bytes(locked))[1]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("a.nii", "1")
        packed.writestr("a.nii", "2")
    assert "twice" in refusal(service, buffer.getvalue())[1]


def peak_of(act):
    tracemalloc.start()
    result = act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


def test_a_zip_bomb_is_refused_before_it_is_unpacked(service):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("x_flair.nii", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    body = buffer.getvalue()
    assert len(body) < 100_000
    (status, said), peak = peak_of(lambda: refusal(service, body))
    assert status == 413 and "unpacks to more" in said and peak < 8 << 20


def test_a_zip_that_lies_about_its_sizes_is_not_believed(service, temporary):
    honest = zipped({"x_flair.nii": bytes(64 << 20)})
    place = honest.index(b"PK\x01\x02") + 24
    lying = honest[:place] + struct.pack("<I", 1000) + honest[place + 4 :]
    (status, _), peak = peak_of(lambda: refusal(service, lying))
    assert status == 400 and peak < 8 << 20


def test_a_list_of_a_million_files_is_not_read(service):
    entry = zipped({"x.nii": b""})
    one = entry[entry.index(b"PK\x01\x02") : entry.index(b"PK\x05\x06")]
    count = (4 << 20) // len(one)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, count * len(one), 0, 0)
    (status, said), peak = peak_of(lambda: refusal(service, one * count + end))
    assert status == 400 and "too long" in said and peak < 20 << 20
    many = zipped({f"{number}.txt": b"" for number in range(30)})
    assert refusal(service, many)[0] == 413


def test_an_image_that_would_fill_the_memory_is_refused_by_its_header(service, newcomer):
    header = nib.Nifti1Header()
    header.set_data_shape((1000, 1000, 250))
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    small = bomb.compress(header.binaryblock + bytes(4)) + bomb.compress(bytes(1 << 20)) + bomb.flush()
    files = files_of(newcomer) | {"Small_00009_flair.nii.gz": small}
    (status, said), peak = peak_of(lambda: refusal(service, zipped(files)))
    assert status == 413 and "250000000 voxels" in said and peak < 40 << 20


@pytest.mark.parametrize("spacing", [(20, 3, 3), (9, 9, 9)])
def test_an_image_that_claims_more_space_than_a_head_has_is_refused(service, newcomer, spacing):
    # Resampled to the network's spacing, a small file of huge voxels would be a huge input.
    files = files_of(newcomer)
    for name in files:
        image = nib.Nifti1Image(np.ones((40, 44, 36), np.uint8), np.diag([*spacing, 1.0]))
        files[name] = image.to_bytes()
    status, said = refusal(service, zipped(files))
    assert status == 413 and "liters" in said and "x" in said


def test_an_upload_of_2_gb_is_refused_unread(service):
    def send():
        with socket.create_connection(service.server_address[:2], timeout=20) as connection:
            port = service.server_address[1]
            connection.sendall(
                f"POST /api/query HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {ZIP}\r\n"
                f"Content-Length: {2 << 30}\r\n\r\n".encode()
            )
            return connection.recv(4096)

    answered, peak = peak_of(send)
    assert b" 413 " in answered.splitlines()[0] and peak < 4 << 20


def test_an_upload_that_keeps_coming_is_answered_and_dropped(service):
    block = bytes(1 << 20)

    def blocks():
        for _ in range(40):
            yield block

    connection = http.client.HTTPConnection("127.0.0.1", service.server_address[1], timeout=20)
    connection.putrequest("POST", "/report")
    connection.putheader("Content-Type", ZIP)
    connection.putheader("Content-Length", str(40 << 20))
    connection.endheaders()
    for piece in blocks():
        try:
            connection.send(piece)
        except OSError:
            break
    assert connection.getresponse().status == 413


@pytest.mark.parametrize("kind", [ZIP, FOLDER])
def test_an_upload_that_trickles_in_has_a_deadline(bundle_folder, kind):
    with running(bundle_folder, replace(LIMITS, seconds=0.3)) as service:
        host, port = service.server_address[:2]
        with socket.create_connection((host, port), timeout=0.02) as connection:
            names = quote(json.dumps([["x_flair.nii", 1000]]))
            head = f"POST /api/query HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\n"
            connection.sendall(f"{head}Neuroprint-Files: {names}\r\nContent-Length: 1000\r\n\r\n".encode())
            answered = b""
            for _ in range(200):  # a byte at a time, for 4 s at most
                with suppress(TimeoutError):
                    connection.sendall(b"x")
                    if answered := connection.recv(4096):
                        break
        assert b" 408 " in answered.splitlines()[0]


def test_the_length_must_be_said_and_kept(service, newcomer):
    body = zipped(files_of(newcomer))
    for headers in ({"Transfer_Encoding": "chunked"}, {"Content_Length": "x"}, {"Content_Length": "-5"}):
        assert (
            ask(service, "POST", "/api/query", None if "Content_Length" in headers else [b"0"], ZIP, **headers)[0]
            == 411
        )
    with socket.create_connection(service.server_address[:2], timeout=20) as connection:
        head = f"POST /api/query HTTP/1.1\r\nHost: localhost:{service.server_address[1]}\r\nContent-Type: {ZIP}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5000])
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(4096).splitlines()[0]
    names = quote(json.dumps([["x_flair.nii", 3]]))
    assert refusal(service, b"12345", FOLDER, Neuroprint_Files=names)[0] == 400
    for broken in ("", "[]x", "[1]", '[["a"]]', '[["a.nii", -3], ["b.nii", 8]]'):
        assert refusal(service, b"12345", FOLDER, Neuroprint_Files=quote(broken))[0] == 400
    for broken in ('[["a.nii", Infinity]]', '[["a.nii", NaN]]', "[" * 20_000):
        status, said = refusal(service, b"12345", FOLDER, Neuroprint_Files=broken)
        assert status == 400 and "must be a JSON list of [name, size]" in said
    assert refusal(service, b"12345", FOLDER)[0] == 400
    for kind in ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded"):
        assert refusal(service, b"12345", kind)[0] == 415  # what a form of another site can send without asking


def test_an_address_that_cannot_be_read_is_refused(service):
    many = "&".join(f"option{number}=1" for number in range(11))
    status, said = refusal(service, b"", path=f"/api/query?{many}")
    assert status == 400 and "more than 10 options" in said
    own = f"127.0.0.1:{service.server_address[1]}"
    assert refusal(service, b"", path="http://[/api/query", Host=own)[0] == 400
    assert ask(service, path="http://[/", Host=own)[0] == 400


def test_a_bundle_that_needs_one_modality_takes_a_case_that_has_no_other(make_bundle, newcomer, tmp_path):
    voxels = {"_target_": "neuroprint.encoders.voxels.VoxelEncoder", "cells": [6, 6, 5], "modalities": ["flair"]}
    make_bundle(tmp_path / "bundle", encoder=voxels)
    with running(tmp_path / "bundle") as service:
        assert json.loads(ask(service, path="/api/bundle")[2])["modalities"] == ["flair"]
        files = files_of(newcomer)
        alone = {name: files[name] for name in ("Small_00009_flair.nii.gz", "Small_00009_seg.nii.gz")}
        found = [json.loads(ask(service, "POST", "/api/query", zipped(each), ZIP)[2]) for each in (files, alone)]
        assert found[0] == found[1] and len(found[0]["neighbours"]) == 5
        status, said = refusal(service, zipped({"Small_00009_t1.nii.gz": files["Small_00009_t1.nii.gz"]}))
        assert status == 422 and "Small_00009_flair.nii.gz missing: expected flair, found Small_00009_t1.nii.gz" in said


def test_other_names_and_other_origins_are_refused(service):
    port = service.server_address[1]
    own = f"127.0.0.1:{port}"
    others = ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", f"localhost.:{port}")
    for host in (*others, "127.0.0.1", f"127.0.0.1:{port + 1}", "", "[", f"127.0.0.1:{port}x"):
        assert ask(service, path="/api/bundle", Host=host)[0] == 421, host
        assert ask(service, "POST", "/api/query", b"", ZIP, Host=host)[0] == 421
    for host in (own, f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}"):
        assert ask(service, path="/api/bundle", Host=host)[0] == 200
    for origin in ("http://evil.example", "null", f"https://{own}", f"http://{own}0", f"http://localhost:{port}"):
        status, headers, _ = ask(service, "POST", "/api/query", b"", ZIP, Host=own, Origin=origin)
        assert status == 403 and "Access-Control-Allow-Origin" not in headers
    assert ask(service, path="/api/bundle", Host=own, Origin=f"http://{own}")[0] == 200
    assert ask(service, "OPTIONS", "/api/query", Origin="http://evil.example")[0] == 501


def test_one_scan_is_extracted_at_a_time_and_the_others_wait(service, newcomer, monkeypatch):
    inside, most, inner = [], [], Bundle.embed

    def embed(self, case, device="cpu"):
        inside.append(case)
        most.append(len(inside))
        time.sleep(0.15)
        query = inner(self, case, device)
        inside.pop()
        return query

    monkeypatch.setattr(Bundle, "embed", embed)
    body, statuses = zipped(files_of(newcomer)), []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(service, "POST", "/api/query", body, ZIP)[0]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while not inside:
        time.sleep(0.01)
    assert ask(service)[0] == 200  # the page answers meanwhile
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4 and max(most) == 1


def test_more_than_can_wait_is_refused_at_once(service, newcomer):
    for _ in range(serving._AT_ONCE):
        service.uploads.acquire()
    try:
        assert refusal(service, zipped(files_of(newcomer)))[0] == 503
    finally:
        for _ in range(serving._AT_ONCE):
            service.uploads.release()


def test_a_failure_inside_names_nothing_and_the_next_query_is_answered(service, newcomer, monkeypatch):
    def fail(self, case, device="cpu"):
        raise RuntimeError(f"secret {Path.cwd()}")

    body = zipped(files_of(newcomer))
    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "embed", fail)
        status, said = refusal(service, body)
        assert status == 500 and "secret" not in said
    assert ask(service, "POST", "/api/query", body, ZIP)[0] == 200


def test_the_service_listens_on_loopback_and_says_when_it_cannot(service):
    assert service.server_address[0] == "127.0.0.1" and service.is_loopback
    assert service.address == f"http://127.0.0.1:{service.server_address[1]}/"
    for port in (service.server_address[1], 70000):
        with pytest.raises(NeuroprintError, match="cannot listen"):
            Service(service.bundle, port=port)


def test_the_page_script_and_the_service_agree(service):
    script = (Path(serving.__file__).parent / "assets" / "serve.js").read_text()
    for word in (FOLDER, ZIP, "Neuroprint-Files", "api/bundle", "report?"):
        assert word in script
