import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from data_sources import check_uci_har, expect_error, make_epilepsy, write_uci_har, zip_folder

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


def test_uci_har_folder_and_zip(tmp_path):
    folder = write_uci_har(tmp_path / "har")
    dataset = load_time_series(folder, validation_size=0)
    check_uci_har(dataset)
    expected = np.loadtxt(folder / "UCI HAR Dataset/train/Inertial Signals/body_gyro_y_train.txt")[4]
    np.testing.assert_allclose(dataset["train"][4]["past_values"][:, 4], expected, rtol=1e-6)
    check_uci_har(load_time_series(zip_folder(folder, tmp_path / "har.zip"), validation_size=0))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (None, ["no_seizure", "seizure"]),
        ("five_classes", ["eyes_closed", "eyes_open", "healthy_area", "seizure", "tumour_area"]),
    ],
)
def test_epileptic_seizure_csv(tmp_path, config, names):
    frame = make_epilepsy()
    frame.to_csv(tmp_path / "data.csv", index=False)
    dataset = load_time_series(tmp_path / "data.csv", config=config, test_size=0.2)
    assert list(dataset) == ["train", "validation", "test"]
    assert sum(map(len, dataset.values())) == 100
    groups = [set(split["group"]) for split in dataset.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    whole = load_time_series(tmp_path / "data.csv", config=config, validation_size=0)["train"]
    assert whole.features["labels"].names == names
    assert [names[label] == "seizure" for label in whole["labels"]] == (frame["y"] == 1).tolist()
    np.testing.assert_array_equal(whole[3]["past_values"][:, 0], frame.iloc[3, 1:179].to_numpy(np.float32))
    with pytest.raises(ValueError, match="expected one of the configurations"):
        load_time_series(tmp_path / "data.csv", config="three_classes")


@pytest.fixture
def server():
    """A web server on this machine: `server.files[path]` is sent, its first `server.cut` bytes only if that is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command == "HEAD" else content[: server.cut])

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.cut = {}, None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_uci_har_is_downloaded_checked_and_kept(tmp_path, server, monkeypatch):
    zip_folder(write_uci_har(tmp_path / "har"), tmp_path / "UCI HAR Dataset.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:  # the publisher's zip holds a zip and a note
        archive.write(tmp_path / "UCI HAR Dataset.zip", "UCI HAR Dataset.zip")
        archive.writestr("UCI HAR Dataset.names", "a note")
    content = (tmp_path / "outer.zip").read_bytes()
    server.files = {"/har.zip": content}
    monkeypatch.setattr("data_timemae.uci.HAR_URL", f"{server.url}/har.zip")
    monkeypatch.setattr("data_timemae.uci.HAR_SHA256", hashlib.sha256(content).hexdigest())
    downloads = tmp_path / "downloads"

    def load():
        return load_time_series("uci_har", data_dir=downloads, validation_size=0)

    server.cut = 1000
    with pytest.raises(TimeSeriesDataError, match=r"har\.zip: expected a complete download"):
        load()
    assert list(downloads.iterdir()) == []
    server.cut, server.files = None, {"/har.zip": content[:-1] + b"?"}
    with pytest.raises(TimeSeriesDataError, match=r"har\.zip: expected a file with the SHA-256 checksum"):
        load()
    assert list(downloads.iterdir()) == []
    server.files = {}
    with pytest.raises((TimeSeriesDataError, FileNotFoundError), match=r"har\.zip"):
        load()
    assert list(downloads.iterdir()) == []
    server.files = {"/har.zip": content}
    check_uci_har(load())
    assert [path.name for path in downloads.iterdir()] == ["uci_har.zip"]
    server.files = {}
    check_uci_har(load())


SIGNAL = "test/Inertial Signals/total_acc_z_test.txt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train/y_train.txt": "1\n2\n3\n1\n2\n"}, r"subject: expected 5 rows as in y"),
        ({"train/y_train.txt": "1\n2\n3\n1\n2\n9\n"}, r"y: expected numbers among \[1, 2, 3\], got"),
        ({"train/y_train.txt": "1\n2\n3\n1\n2\nx\n"}, r"y_train.txt: expected lines.*'x'"),
        ({"train/y_train.txt": ""}, "subject: expected 0 rows as in y"),
        ({"train/subject_train.txt": "1\n"}, r"subject: expected 6 rows"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n1 2 3\n1 2 3\n"}, r"total_acc_z_test.txt: expected lines.*at row 2"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n" * 2}, r"total_acc_z: expected 3 rows"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n" * 2 + "1 2 3 4 5 6 7 ?\n"}, r"total_acc_z_test.txt.*could not convert.*'\?'"),
        ({"activity_labels.txt": "1 WALKING\n2\n"}, "activity_labels.txt: expected lines of a number and the name"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_malformed_uci_har(tmp_path, changes, message):
    expect_error(write_uci_har(tmp_path / "har", changes), message)
    expect_error(zip_folder(tmp_path / "har", tmp_path / "har.zip"), message)


def test_uci_har_without_a_signal(tmp_path):
    folder = write_uci_har(tmp_path / "har")
    (folder / "UCI HAR Dataset" / SIGNAL).unlink()
    with pytest.raises(FileNotFoundError, match="total_acc_z_test"):
        load_time_series(folder)
    expect_error(zip_folder(folder, tmp_path / "har.zip"), "total_acc_z_test")


def test_malformed_epileptic_seizure_csv(tmp_path):
    path = tmp_path / "data.csv"
    sound = make_epilepsy(10)
    sound.to_csv(path, index=False)
    lines = path.read_text().splitlines()
    for changed, message in (
        ([lines[0]], "expected at least one series, got none"),
        ([*lines[:3], lines[3].rpartition(",")[0]], "line 4: expected 180 columns, got 179"),
        ([*lines[:3], lines[3].rpartition(",")[0] + ",7"], "series 2: expected a class y among"),
        ([*lines[:3], lines[3].rpartition(",")[0] + ","], "series 2: expected a class y among"),
        ([*lines[:3], lines[3].replace(",", ",x", 1)], "line 4, column 'X1': expected a number"),
    ):
        path.write_text("\n".join(changed) + "\n")
        expect_error(path, message)
