"""Starts the tritonserver that the wheel of PyTriton brings, with the model of `models`, on the CPU."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path


def backends(triton: Path) -> Path:
    """Where the Python backend stands beside the stub for this Python, which the wheel keeps elsewhere."""
    backend = Path("backends", "python").absolute()
    backend.mkdir(parents=True)
    stub = Path(f"{sys.version_info.major}.{sys.version_info.minor}", "triton_python_backend_stub")
    parts = [*triton.glob("backends/python/*triton_python*.*"), triton / "python_backend_stubs" / stub]
    for part in parts:
        (backend / part.name).symlink_to(part)
    return backend.parent


def main(port: str, metrics: str) -> None:
    """Become the server at these two ports."""
    found = importlib.util.find_spec("pytriton")
    assert found is not None
    assert found.origin is not None
    triton = Path(found.origin).parent / "tritonserver"
    # The stub is a Python too, which finds what it needs by these.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    os.environ["PYTHONPATH"] = sysconfig.get_paths()["purelib"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    places = {"model-repository": Path("models").absolute(), "backend-directory": backends(triton)}
    ports = {"http-port": port, "metrics-port": metrics, "allow-grpc": "false", "allow-gpu-metrics": "false"}
    # By its own process, so that what it leaves there when it is killed can be told from others.
    memory = {"backend-config": f"python,shm-region-prefix-name=model-sidecar-test-{os.getpid()}-"}
    here = {"http-address": "127.0.0.1", "metrics-address": "127.0.0.1"}
    server = str(triton / "bin" / "tritonserver")
    os.execv(server, [server, *(f"--{name}={value}" for name, value in {**places, **ports, **here, **memory}.items())])


if __name__ == "__main__":
    main(*sys.argv[1:])
