"""One of two processes that exchange texts and errors: `two_processes.py OPTIONS`, as `gan.main`.

The last line that it prints is what it found, as JSON.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # Where a script finds `gan`.

from gan.errors import ConfigError, DataError
from gan.runtime import cluster
from gan.runtime.jax_private import get_distributed_state
from gan.runtime.parallel import Parallel

found = {}


def note_error(name: str, topic: str, raising: bool) -> None:
    """Notes which error comes out of a block that all processes enter."""
    try:
        with cluster.fail_together(topic):
            if raising:
                time.sleep(1.5)  # Longer than one turn of waiting for a text.
                raise DataError("a bad file")
    except DataError as error:
        found[name] = str(error)


options = dict(argument.removeprefix("--").split("=") for argument in sys.argv[1:])
place = cluster.find_place(
    options["coordinator"], int(options["num_processes"]), int(options["process_id"])
)
cluster.join_cluster(place, 60, 60)
first = cluster.is_first()
found["name"] = cluster.process_name()
for round_ in (1, 2):
    found[f"texts {round_}"] = cluster.gather_texts("x", f"{place.index} in round {round_}")
try:
    Parallel.create("pmap")
except ConfigError as error:
    found["pmap"] = str(error)
rows = Parallel.create("jit").local_rows(12)
found["rows"] = [rows.start, rows.stop]
with cluster.fail_together("nothing bad"):
    found["done"] = True
note_error("raised", "data", raising=not first)
if first:
    note_error("raised later", "something else", raising=False)
else:
    time.sleep(3)
    client = get_distributed_state().client
    found["told"] = [key for key, _ in client.key_value_dir_get(cluster.FAILURES)]
print(json.dumps(found), flush=True)
cluster.end_process(65)
