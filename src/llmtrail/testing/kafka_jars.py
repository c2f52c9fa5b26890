"""Find Java and fetch Apache Kafka's jars by Maven, once. Knows nothing of how a broker runs."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# Kafka 4 runs on Java 17 or newer.
JAVA_MIN = 17
# 46 jars, 43 MB: seconds on a good line, minutes on a bad one.
_FETCH_S_MAX = 600.0
_DONE = "complete"


class NoKafkaError(RuntimeError):
    """A local Kafka cannot run here; the text says what is missing and what to do."""


def checkout_folder() -> Path:
    """Return the checkout that this file stands in; raise NoKafkaError where llmtrail was installed without one."""
    root = Path(__file__).parents[3]
    if (root / "infra" / "kafka" / "pom.xml").is_file():
        return root
    raise NoKafkaError("infra/kafka/pom.xml is missing: a local Kafka starts from a checkout of llmtrail only.")


def java() -> str:
    """Return the path of a Java that can run Kafka; raise NoKafkaError where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    if found is None:
        raise NoKafkaError(f"there is no Java: install Java {JAVA_MIN} or newer.")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_MIN:
        raise NoKafkaError(f"{found} is no Java {JAVA_MIN} or newer: set JAVA_HOME to one.")
    return found


def are_fetched() -> bool:
    """Say whether Kafka's jars are here already; raise NoKafkaError where llmtrail was installed without a checkout."""
    return (_folder() / _DONE).is_file()


def jars() -> Path:
    """Return the folder of Kafka's jars, fetching them by Maven where they are not there yet.

    Raises NoKafkaError where they cannot be fetched. Several processes may ask at once: one fetches.
    """
    folder = _folder()
    if (folder / _DONE).is_file():
        return folder
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _DONE).is_file():
            _fetch(_pom(), folder)
    return folder


def _pom() -> Path:
    return checkout_folder() / "infra" / "kafka" / "pom.xml"


def _folder() -> Path:
    # Another version of anything is another folder, so that old and new never mix.
    name = hashlib.sha256(_pom().read_bytes()).hexdigest()[:12]
    return checkout_folder() / ".cache" / "kafka" / f"jars-{name}"


def _fetch(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoKafkaError("Kafka's jars are not here yet and there is no Maven (mvn) to fetch them: install it.")
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted fetch left
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        # Strict checksums: a jar that came broken is an error here, not a riddle later.
        command = [maven, "-q", "-B", "-C", "-f", str(pom), "dependency:copy-dependencies"]
        try:
            done = subprocess.run(
                [*command, "-DincludeScope=runtime", f"-DoutputDirectory={made}/jars"],
                capture_output=True,
                text=True,
                check=False,
                timeout=_FETCH_S_MAX,
            )
        except subprocess.TimeoutExpired as cause:
            raise NoKafkaError(f"Maven did not fetch Kafka's jars within {_FETCH_S_MAX:.0f} s.") from cause
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or ["it said nothing"]
            raise NoKafkaError(f"Maven could not fetch Kafka's jars: {lines[0].removeprefix('[ERROR]').strip()[:300]}")
        (Path(made) / "jars" / _DONE).touch()
        (Path(made) / "jars").rename(folder)
