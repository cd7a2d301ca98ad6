"""Three services as their guides wrote them, each watched for real with the configuration that README gives it."""

from contextlib import ExitStack

import pytest

from tests.daemon import Page, started
from tests.ports import free_port
from tests.services.guided import configured, in_readme, running
from tests.services.pythons import MISSING, PYTHONS, python_with

if not PYTHONS:
    pytest.skip(MISSING, allow_module_level=True)

MOST_LINES = 15


@pytest.mark.parametrize("name", ["chat", "address", "image"])
def test_a_configuration_that_does_all_is_short(name: str) -> None:
    lines = in_readme(name).splitlines()

    assert len(lines) <= MOST_LINES


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """What the page says of the chat once it has been asked a few times."""
    python = python_with("gradio", "prometheus_client")
    port, metrics = free_port(), free_port()
    folder = tmp_path_factory.mktemp("chat")
    at = {"GRADIO_SERVER_PORT": str(port), "METRICS_PORT": str(metrics), "GRADIO_ANALYTICS_ENABLED": "False"}
    with ExitStack() as stack:
        stack.enter_context(running(folder, port, python, "chat.py", **at))
        daemon = stack.enter_context(started(folder, configured("chat", {7860: port, 8000: metrics})))
        return daemon.until(
            lambda page: (
                (page.value("model_probe_first_token_seconds_count", target="chat") or 0) >= 3
                and sum(it.value for it in page.samples("model_server_request_duration_seconds_count")) >= 2
                and page.value("model_process_resident_memory_bytes", target="chat") is not None
            )
        )


def test_the_chat_answers_as_it_should(chat: Page) -> None:
    assert chat.value("model_probe_up", target="chat") == 1
    assert chat.value("model_health_up", target="chat") == 1
    assert not chat.failures("chat")


def test_the_chat_thinks_first_and_its_answer_is_timed_apart(chat: Page) -> None:
    first = chat.value("model_probe_last_first_token_seconds", target="chat")
    first_answer = chat.value("model_probe_last_first_answer_token_seconds", target="chat")

    assert first is not None
    assert first_answer is not None
    assert first < first_answer


def test_the_chats_tokens_are_timed(chat: Page) -> None:
    assert chat.value("model_probe_stream_buffered", target="chat") == 0
    assert chat.value("model_probe_tokens_estimated", target="chat") == 1
    assert chat.value("model_probe_tokens_per_second", target="chat")


def test_what_the_chat_counts_itself_is_published_from_its_other_port(chat: Page) -> None:
    requests = sum(it.value for it in chat.samples("model_server_requests_total", target="chat"))
    timed = sum(it.value for it in chat.samples("model_server_request_duration_seconds_count", target="chat"))

    assert chat.samples("model_server_metrics_up", target="chat")[0].value == 1
    assert requests >= 2
    assert timed >= 2


def test_the_chats_use_of_the_machine_is_seen(chat: Page) -> None:
    assert chat.value("model_process_resident_memory_bytes", target="chat")
    assert chat.by("mode", "model_process_cpu_seconds_total", target="chat")
    assert chat.value("host_memory_used_bytes")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Page]:
    """What the page says of the parser while all is well, and after one of its four workers has broken."""
    python = python_with("flask", "gunicorn", "psutil")
    port = free_port()
    folder = tmp_path_factory.mktemp("address")
    breaking = folder / "break-one"
    command = (python, "-m", "gunicorn", "--workers=4", "--threads=2", f"--bind=127.0.0.1:{port}", "address:app")
    with ExitStack() as stack:
        stack.enter_context(running(folder, port, *command, BREAK_ONE_WORKER=str(breaking)))
        daemon = stack.enter_context(started(folder, configured("address", {5000: port})))
        well = daemon.until(
            lambda page: (
                page.succeeded("address") >= 10
                and page.value("model_processes", target="address") == 5
                and bool(page.samples("model_health_value", target="address"))
            )
        )
        breaking.touch()
        broken = daemon.until(
            lambda page: page.failed("address") >= 3 and page.succeeded("address") > 2 * page.failed("address")
        )
        return well, broken


def test_what_the_parsers_health_says_is_published(address: tuple[Page, Page]) -> None:
    well, _ = address
    told = {it.labels["field"]: it.value for it in well.samples("model_health_value", target="address")}

    assert told.keys() == {"cpu_usage", "memory_usage", "gpu_available"}
    assert 0 < told["memory_usage"] < 100
    assert told["gpu_available"] == 0


def test_the_parser_parses(address: tuple[Page, Page]) -> None:
    well, _ = address

    assert well.value("model_probe_up", target="address") == 1
    assert well.value("model_health_up", target="address") == 1
    assert not well.failures("address")


def test_all_of_the_parsers_workers_are_one_service_with_one_queue(address: tuple[Page, Page]) -> None:
    well, _ = address

    assert well.value("model_processes", target="address") == 5
    assert well.value("model_process_accept_queue", target="address") is not None


def test_one_broken_worker_of_four_shows_while_health_says_active(address: tuple[Page, Page]) -> None:
    _, broken = address

    assert broken.failures("address").keys() == {"status_5xx"}
    assert broken.failed("address") >= 3
    assert broken.succeeded("address") > broken.failed("address")
    assert broken.value("model_health_up", target="address") == 1


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Page]:
    """What the page says of the image API once it has erred, and after its pictures have turned black."""
    python = python_with("fastapi", "uvicorn", "prometheus_fastapi_instrumentator", "PIL")
    port = free_port()
    folder = tmp_path_factory.mktemp("image")
    black = folder / "black"
    errs_soon = {"IMAGE_SECONDS": "0.05 0.1", "IMAGE_SEED": "12", "BLACK_IMAGES": str(black)}
    with ExitStack() as stack:
        stack.enter_context(running(folder, port, python, "-m", "uvicorn", "image:app", f"--port={port}", **errs_soon))
        daemon = stack.enter_context(started(folder, configured("image", {8000: port})))
        well = daemon.until(
            lambda page: (
                page.failed("image") >= 1
                and page.succeeded("image") >= 10
                and page.value("model_probe_up", target="image") == 1
                and bool(page.samples("model_server_requests_total", handler="/generate"))
            )
        )
        black.touch()
        daemon.until(lambda page: page.failed("image") >= well.failed("image") + 5)
        return well, daemon.scrape()


def test_the_image_is_drawn_and_looked_at(image: tuple[Page, Page]) -> None:
    well, blackened = image

    assert well.value("model_probe_up", target="image") == 1
    assert well.succeeded("image") >= 10
    assert blackened.value("model_probe_up", target="image") == 0
    assert blackened.failed("image") >= well.failed("image") + 5


def test_an_error_that_claims_success_is_a_failure(image: tuple[Page, Page]) -> None:
    well, _ = image
    by_status = well.by("status", "model_server_requests_total", target="image", handler="/generate")

    assert well.failures("image").keys() == {"unexpected"}
    assert well.succeeded("image") > well.failed("image")
    assert by_status.keys() == {"2xx"}


def test_without_a_health_endpoint_its_description_stands_for_one(image: tuple[Page, Page]) -> None:
    well, _ = image

    assert well.value("model_health_up", target="image") == 1


def test_what_the_image_api_counts_itself_is_told_by_handler_and_status(image: tuple[Page, Page]) -> None:
    well, _ = image
    (asked,) = well.samples("model_server_requests_total", target="image", handler="/generate", status="2xx")
    timed = well.samples("model_server_request_duration_seconds_count", target="image", handler="/generate")

    assert asked.labels["method"] == "POST"
    assert asked.value >= 5
    assert timed
