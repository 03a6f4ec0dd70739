"""Files in deploy/: what they name exists, and tools that read them would accept their structure."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from kinema.server.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SECRETS = {
    "KINEMA_API_KEYS", "KINEMA_DATABASE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
}  # fmt: skip
"""Variables that the settings or boto3 read."""


def load(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def instructions() -> list[tuple[str, str]]:
    text = DOCKERFILE.replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def commands() -> list[list[str]]:
    """Every command of Kinema, without the name of the program."""
    found = [json.loads(rest) for word, rest in instructions() if word == "CMD"]
    services = load("compose.yaml")[0]["services"]
    found += [services[name]["command"] for name in ("server", "worker")]
    kuberay = load("kuberay.yaml")
    server = kuberay[1]["spec"]["template"]["spec"]["containers"][0]["args"][0]
    found.append(shlex.split(server.partition("exec kinema ")[2]))
    comments = re.findall(r"^#\s+kinema (.+)$", (DEPLOY / "ray-cluster.yaml").read_text(), re.M)
    return found + [shlex.split(line) for line in comments]


@functools.cache
def help_of(command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "kinema", command, "--help"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_flag_of_a_command_exists(command):
    flags = [word for word in command if word.startswith("--")]
    assert flags
    for flag in flags:
        assert re.search(rf"{flag}\b", help_of(command[0])), flag


def test_the_image_copies_files_that_exist_and_installs_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY"]
    assert copied
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
    installed = re.findall(r"\.\[([a-z0-9,]+)\]", DOCKERFILE)
    assert len(installed) == 2
    assert {name for names in installed for name in names.split(",")} <= set(extras)
    stages = dict(re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M))
    assert stages == {"python:${PYTHON}-slim": "base", "base": "cuda"}
    words = {word for word, _ in instructions()}
    assert words <= {
        "ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK",
        "ENTRYPOINT", "CMD",
    }  # fmt: skip
    # The user comes after everything that is installed.
    for stage in DOCKERFILE.split("FROM base")[1:]:
        assert stage.rindex("RUN pip") < stage.index("USER kinema") < stage.index("ENTRYPOINT")


def test_the_version_of_torch_is_that_of_the_makefile():
    versions = re.findall(r"torch==([0-9.]+)", DOCKERFILE + (ROOT / "Makefile").read_text())
    assert len(versions) > 2
    assert len(set(versions)) == 1


def test_the_settings_are_valid(tmp_path):
    settings = load_settings(DEPLOY / "kinema.toml", data_dir=tmp_path)
    assert settings.drain_s > 0
    assert settings.limits.max_videos == 1_000_000


def test_compose_has_services_volumes_and_variables_that_exist():
    (compose,) = load("compose.yaml")
    services = compose["services"]
    for name, service in services.items():
        assert {"image", "build"} & set(service), name
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        for dependency, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[dependency]
    build = services["server"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert f"AS {build['target']}" in DOCKERFILE
    for name in ("server", "worker"):
        assert set(services[name]["environment"]) <= SECRETS
    url = services["server"]["environment"]["KINEMA_DATABASE"]
    assert url.startswith("postgresql://kinema:")
    assert url.endswith(f"@postgres/{services['postgres']['environment']['POSTGRES_DB']}")
    bucket = services["bucket"]["command"][0].split("/")[-1]
    assert f"s3://{bucket}/kinema" in services["server"]["command"]


@pytest.mark.skipif(find_spec("ray") is None or find_spec("jsonschema") is None, reason="needs Ray")
def test_the_ray_cluster_is_valid_for_ray():
    import jsonschema
    import ray

    (cluster,) = load("ray-cluster.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    extras = re.search(r"kinema\[([a-z0-9,]+)\]", cluster["setup_commands"][0])[1].split(",")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) <= set(known)


def test_the_kuberay_manifest_has_the_fields_of_a_ray_cluster_and_names_that_agree():
    cluster, deployment, service = load("kuberay.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert set(spec) <= {
        "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"
    }  # fmt: skip
    assert set(spec["headGroupSpec"]) == {"rayStartParams", "template"}
    (group,) = spec["workerGroupSpecs"]
    assert set(group) == {
        "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"
    }  # fmt: skip
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for part in (spec["headGroupSpec"], group):
        assert all(isinstance(value, str) for value in part["rayStartParams"].values())
        (container,) = part["template"]["spec"]["containers"]
        assert container["image"] == "kinema:cuda"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    arguments = server["args"][0]
    # KubeRay names the head's service after the cluster.
    assert f"--address={cluster['metadata']['name']}-head-svc:6379" in arguments
    assert f"--max-workers {group['maxReplicas']}" in arguments
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    for probe in ("livenessProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["port"] in ports
        assert server[probe]["httpGet"]["path"] in ("/healthz", "/readyz")
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    drain = tomllib.loads((DEPLOY / "kinema.toml").read_text())["drain_s"]
    from kinema.server.app import DRAIN_TIMEOUT_S
    from kinema.server.main import SHUTDOWN_TIMEOUT_S

    assert grace > drain + DRAIN_TIMEOUT_S + SHUTDOWN_TIMEOUT_S
    assert ports["http"] == Settings.model_fields["port"].default
