"""Serves a Google Cloud Storage on localhost: `python tests/helpers/bucket.py PORT`."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # Where a script finds `gan`.

from gan.runtime.cluster import find_free_port

NAME = "bucket"


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """Serves an empty bucket `NAME`; yields the environment in which programs find it."""
    port = find_free_port()
    url = f"http://localhost:{port}"
    command = [sys.executable, __file__, str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not answers(f"{url}/storage/v1/b/{NAME}"):
            assert server.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        yield {
            "STORAGE_EMULATOR_HOST": url,  # For gcsfs and Google's own library.
            "TENSORSTORE_GCS_HTTP_URL": url,  # For TensorStore, which Orbax uses.
            "GOOGLE_CLOUD_PROJECT": "test",
            # Keeps both from asking Google's servers who we are, and which kind of bucket this is.
            "NO_GCE_CHECK": "true",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
    finally:
        server.kill()
        server.wait()


def answers(url: str) -> bool:
    """Whether a server answers at `url`."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == HTTPStatus.OK
    except OSError:
        return False


def serve(port: int) -> None:
    """Runs the emulator, with the generations of objects that it lacks and TensorStore needs."""
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    def generation(request, storage) -> str:
        name = request.params.get("object_id") or request.query["name"][0]
        try:
            return storage.get_file_obj(request.params["bucket_name"], name)["generation"]
        except NotFound:
            return "0"

    def with_generation(download):
        def handler(request, response, storage, *args, **kwargs):
            download(request, response, storage, *args, **kwargs)
            if response.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                response["x-goog-generation"] = generation(request, storage)

        return handler

    def if_generation_matches(change):
        def handler(request, response, storage, *args, **kwargs):
            wanted = request.query.get("ifGenerationMatch")
            if wanted and wanted[0] != generation(request, storage):
                response.status = HTTPStatus.PRECONDITION_FAILED
            else:
                change(request, response, storage, *args, **kwargs)

        return handler

    for _, handlers in server.HANDLERS:
        for method, handler in handlers.items():
            if handler in (objects.insert, objects.delete):
                handlers[method] = if_generation_matches(handler)
    objects.download = with_generation(objects.download)
    server.create_server("localhost", port, in_memory=True, default_bucket=NAME).run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
