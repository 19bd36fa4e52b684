"""Small copies of the official CIFAR-10 files, in all their forms."""

import io
import pickle
import tarfile

import numpy as np

from convpress.cifar import BATCHES

RECORDS = 7


class Python2Pickler(pickle._Pickler):
    """Writes texts and bytes as Python 2 wrote its strings, which is how the official batches are."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


class Python2Array:
    """An array as numpy 1 pickled it under Python 2: old module names, numbers in place of flags."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        raise AssertionError("written by hand below")


def save_array(pickler, value):
    array = value.array
    pickler.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
    pickler.save((0,))
    pickler.save(b"b")
    pickler.write(pickle.TUPLE3 + pickle.REDUCE + pickle.MARK)
    pickler.save(1)
    pickler.save(array.shape)
    pickler.write(b"cnumpy\ndtype\n")
    pickler.save(("u1", 0, 1))
    pickler.write(pickle.REDUCE)
    pickler.save((3, b"|", None, None, None, -1, -1, 0))
    pickler.write(pickle.BUILD)
    pickler.save(False)
    pickler.save(array.tobytes())
    pickler.write(pickle.TUPLE + pickle.BUILD)


Python2Pickler.dispatch[Python2Array] = save_array


def python2(value):
    buffer = io.BytesIO()
    pickler = Python2Pickler(buffer, protocol=2)
    pickler.dump(value)
    return buffer.getvalue()


def made_batches(records=RECORDS):
    rng = np.random.default_rng(0)
    return {
        name: (
            rng.integers(0, 256, (records, 3072), dtype=np.uint8),
            rng.integers(0, 10, records, dtype=np.uint8),
        )
        for name in BATCHES
    }


def binary(pixels, labels):
    return np.concatenate([labels[:, None], pixels], axis=1).tobytes()


def python_batch(pixels, labels):
    return python2({"batch_label": "made", "labels": labels.tolist(), "data": Python2Array(pixels), "filenames": ["a"]})


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def python_archive(path, batches):
    return write_tar(path, {f"cifar-10-batches-py/{name}": python_batch(*batch) for name, batch in batches.items()})


def binary_archive(path, batches):
    return write_tar(path, {f"cifar-10-batches-bin/{name}.bin": binary(*batch) for name, batch in batches.items()})


def binary_folder(path, batches):
    path.mkdir(parents=True)
    for name, batch in batches.items():
        (path / f"{name}.bin").write_bytes(binary(*batch))
    return path


def spoilt(change):
    batches = made_batches()
    pixels, labels = batches["data_batch_3"]
    if change == "label":
        labels[4] = 10
    else:
        batches["data_batch_3"] = (pixels[:-1], labels[:-1])
    return batches
