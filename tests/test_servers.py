"""The scripts for servers: what they start, in which order, and who reaches it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from socketlab.runs.sweeps.ray_security import private_folder

TOKEN = "t" * 64
METRICS = b"# HELP"
ASKED = (
    "NodeInfoGcsService/CheckAlive",
    "RayletDriver/ClusterInfo",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Push",
    "ReporterService/GetTraceback",
    "CoreWorkerService/GetCoreWorkerStats",
)
DRIVER = """
import os, sys, time
from socketlab.runs.sweeps.ray_security import check_join, secure_environment
os.environ.update(secure_environment(sys.argv[1]))
import ray
assert check_join(sys.argv[1]) == ""
ray.init(address=sys.argv[1], log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.5)
where = ray.remote(lambda: (time.sleep(2), ray.get_runtime_context().get_node_id())[1])
tasks = [where.options(scheduling_strategy="SPREAD").remote() for _ in range(4)]
print(len(set(ray.get(tasks))), flush=True)
input()
"""


def _program(folder: Path, name: str, *lines: str) -> None:
    file = folder / name
    file.write_text("\n".join(["#!/usr/bin/env bash", f'echo "{name} $*" >>"$CALLS"', *lines]))
    file.chmod(0o755)


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of its own, and stand-ins for what a Slurm node has."""
    programs = tmp_path / "bin"
    programs.mkdir()
    run = 'while [[ "$1" == --* ]]; do shift; done; exec "$@"'
    _program(programs, "srun", run)
    _program(programs, "scontrol", '[[ "$1" == show ]] && printf "one\\ntwo\\n" || true')
    _program(programs, "hostname", "echo 10.0.0.1 10.0.0.2")
    both = 'until (($(grep -c "^ray start" "$CALLS") == 2)); do sleep 0.05; done'
    _program(programs, "socketlab", both, 'eval "${SWEEP:-exit 0}"')
    ray = ('[[ "$1" == get-auth-token ]] && mkdir -p ~/.ray && echo secret >~/.ray/auth_token',)
    _program(programs, "ray", *ray, '[[ "$1" == start ]] && exec sleep 60', "exit 0")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
    return kept | {
        "HOME": str(tmp_path),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
    }


@pytest.fixture
def slurm(told: dict[str, str], root: Path) -> dict[str, str]:
    """What Slurm tells its jobs."""
    return told | {
        "SLURM_SUBMIT_DIR": str(root),
        "SLURM_JOB_ID": "40007",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_GPUS_ON_NODE": "2",
    }


def _calls(told: dict[str, str]) -> list[str]:
    file = Path(told["CALLS"])
    return file.read_text().splitlines() if file.exists() else []


def test_a_slurm_job_starts_a_head_then_nodes_then_the_sweep(
    slurm: dict[str, str], root: Path
) -> None:
    words = ["bash", str(root / "docs/servers/slurm.sh"), "night.yaml", "--plan"]
    assert subprocess.run(words, env=slurm, timeout=60).returncode == 0
    calls = _calls(slurm)
    starts = [call for call in calls if call.startswith("ray start")]
    assert len([call for call in starts if " --head " in call]) == 1
    for call in starts:
        assert "--num-cpus=4 --num-gpus=2" in call and "secret" not in call
        assert "--dashboard-host=127.0.0.1" in call or "--address=10.0.0.1:20007" in call
    (sweep,) = (call for call in calls if call.startswith("socketlab"))
    assert sweep == "socketlab sweep night.yaml --plan --engine ray --address 10.0.0.1:20007"
    assert not any("requeue" in call for call in calls)
    placed = [call for call in calls if call.startswith("srun") and "nodes.sh" in call]
    assert ["--nodelist=one" in call for call in placed] == ["head" in call for call in placed]


def test_a_failed_sweep_fails_its_slurm_job(slurm: dict[str, str], root: Path) -> None:
    words = ["bash", str(root / "docs/servers/slurm.sh"), "night.yaml"]
    assert subprocess.run(words, env=slurm | {"SWEEP": "exit 3"}, timeout=60).returncode == 3
    assert not any("requeue" in call for call in _calls(slurm))


def test_a_slurm_job_that_is_told_to_end_goes_back_into_the_queue(
    slurm: dict[str, str], root: Path
) -> None:
    words = ["bash", str(root / "docs/servers/slurm.sh"), "night.yaml"]
    with subprocess.Popen(words, env=slurm | {"SWEEP": "exec sleep 60"}) as process:
        while not any(call.startswith("socketlab") for call in _calls(slurm)):
            time.sleep(0.05)
            assert process.poll() is None
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert "scontrol requeue 40007" in _calls(slurm)
    psutil.wait_procs(family, timeout=10)
    assert not any(child.is_running() for child in family)


def test_a_node_needs_the_token_of_the_head(told: dict[str, str], root: Path) -> None:
    script = str(root / "docs/servers/nodes.sh")
    joined = subprocess.run(
        ["bash", script, "join", "head:6379"], env=told, capture_output=True, text=True
    )
    assert joined.returncode == 1 and "No token in" in joined.stderr
    for wrong in ([], ["other"]):
        (Path(told["HOME"]) / ".ray").mkdir(exist_ok=True)
        (Path(told["HOME"]) / ".ray" / "auth_token").write_text(TOKEN)
        assert subprocess.run(["bash", script, *wrong], env=told, capture_output=True).returncode
    assert _calls(told) == []


def test_what_kubernetes_is_given_fits_together(root: Path) -> None:
    """Field names and the required ones are those of KubeRay's published `RayJob`."""
    text = (root / "docs/servers/kubernetes.yaml").read_text()
    claim, job, policy = yaml.safe_load_all(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    spec = job["spec"]
    assert spec.keys() <= {
        *("entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("backoffLimit", "rayClusterSpec"),
    }
    assert spec["entrypoint"].startswith("socketlab sweep ") and "--address auto" in text
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "socketlab-ray"}
    assert f"create secret generic {cluster['authOptions']['secretName']}" in text
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert (head["serviceType"], head["enableIngress"]) == ("ClusterIP", False)
    assert {"groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"} < set(workers)
    pods = [group["template"]["spec"] for group in (head, workers)]
    (first,), (second,) = (pod["containers"] for pod in pods)
    assert first["image"] == second["image"] and first["volumeMounts"] == second["volumeMounts"]
    assert {m["name"] for m in first["volumeMounts"]} == {v["name"] for v in pods[0]["volumes"]}
    assert pods[0]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    limits = second["resources"]["limits"]
    assert limits == second["resources"]["requests"] and limits["nvidia.com/gpu"] == "1"
    assert policy["kind"] == "NetworkPolicy" and policy["spec"]["policyTypes"] == ["Ingress"]
    named = policy["spec"]["ingress"][0]["from"][1]["podSelector"]["matchLabels"]["job-name"]
    assert named == job["metadata"]["name"]
    assert all(isinstance(v, str) for v in head["rayStartParams"].values())


def _asked(host: str, port: int) -> set[str]:
    """What a socket says to somebody without a token, over HTTP and over gRPC."""
    import grpc  # type: ignore[import-untyped]

    found = set()
    with socket.create_connection((host, port), timeout=10) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while len(answer) < 4096 and (more := plain.recv(4096)):
            answer += more
            if not answer.startswith(b"HTTP/1"):
                break
        if answer.startswith(b"HTTP/1"):
            return {"metrics" if METRICS in answer else answer.split()[1].decode()}
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for name in ASKED:
            try:
                channel.unary_unary(f"/ray.rpc.{name}")(b"", timeout=60)
                found.add(f"OK {name}")
            except grpc.RpcError as error:
                found.add(str(error.code().name))
    return found - {"UNIMPLEMENTED"}


def _family(process: "subprocess.Popen[Any]") -> list[psutil.Process]:
    found = psutil.Process(process.pid)
    return [found, *found.children(recursive=True)]


@pytest.mark.faults
def test_two_nodes_run_what_they_are_sent_with_the_token_and_nothing_else(
    tmp_path: Path, root: Path
) -> None:
    told = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    told |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{told['PATH']}"}
    told |= {"RAY_agent_register_timeout_ms": "120000"}  # a busy machine starts them slowly
    script, small = str(root / "docs/servers/nodes.sh"), ["--num-cpus=2"]
    small.append("--object-store-memory=80000000")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "log").open("w")
    quiet: dict[str, Any] = {"env": told, "stdout": log, "stderr": subprocess.STDOUT}
    started = [subprocess.Popen(["bash", script, "head", f"--port={port}", *small], **quiet)]
    family: list[psutil.Process] = []
    try:
        ip = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()[0]
        address = f"{ip}:{port}"
        ask = [str(Path(sys.executable).with_name("ray")), "status", "--address", address]
        mode = {"RAY_AUTH_MODE": "token"}
        while subprocess.run(ask, **quiet | {"env": told | mode}).returncode:
            assert started[0].poll() is None
        own = f"--temp-dir={private_folder() / 'other'}"  # of a machine of its own
        join = ["bash", script, "join", address, own, *small]
        started.append(subprocess.Popen(join, **quiet))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        program = [sys.executable, "-c", DRIVER, address]
        with subprocess.Popen(program, env=told, text=True, **pipes) as driver:
            assert driver.stdout is not None
            said = driver.stdout.readline()
            assert said == "2\n", (tmp_path / "log").read_text()[-3000:]  # both took part
            family = [p for process in (*started, driver) for p in _family(process)]
            wide = {
                (ip if ear.laddr.ip in ("::", "0.0.0.0") else ear.laddr.ip, ear.laddr.port)
                for p in family
                for ear in p.net_connections()
                if ear.status == "LISTEN"
            }
            answers = {place: _asked(place[0].removeprefix("::ffff:"), place[1]) for place in wide}
            token = (tmp_path / ".ray" / "auth_token").read_text()
            assert not any(token in word for p in family for word in p.cmdline())
            driver.communicate("\n")
        refused = [place for place, said in answers.items() if said & {"UNAUTHENTICATED", "401"}]
        assert len(refused) >= 8
        assert all(
            said in ({"UNAUTHENTICATED"}, {"401"}) or said == {"metrics"}
            for said in answers.values()
        ), answers
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
        log.close()
        for left in psutil.wait_procs(family, timeout=30)[1]:
            left.kill()
