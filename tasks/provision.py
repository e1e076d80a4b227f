"""Task of the provision phase: starts and stops the server of one trial."""

from __future__ import annotations

from prefect import task

from rooftune.engines.server import ServerInfo
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from tasks import run_listener
from tasks.retrying import retry_transient
from tasks.run_files import settings_of, target_of_order
from tasks.telemetry.spans import span

LONGEST_START_S = 3600


@task(
    name="provision",
    task_run_name="start {order.candidate} {order.n}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=retry_transient,
    timeout_seconds=LONGEST_START_S,
    persist_result=False,
)
async def start_server(run: RunFolder, order: TrialOrder) -> ServerInfo:
    """Start the server and read its effective configuration; an endpoint is only connected to.

    The server ends with this process, however that ends.

    Raises:
        EngineError: it did not start; the message says why.
    """
    with span("start", {"candidate": order.candidate, "trial": order.n}) as recorded:
        server = await _started(run, order)
        recorded.set(
            {
                "ready_after_s": server.ready_after_s,
                "engine_version": server.effective.engine_version,
                "kv_cache_tokens": server.effective.kv_cache_tokens,
                "attention_backend": server.effective.attention_backend,
            }
        )
    return server


async def _started(run: RunFolder, order: TrialOrder) -> ServerInfo:
    from rooftune.engines import launch, switching

    target, settings, folder = target_of_order(run, order), settings_of(run), run.trial(order.candidate, order.n)
    folder.path.mkdir(parents=True, exist_ok=True)
    if target.engine == "endpoint":
        return await launch.connect(target, folder)
    if target.simulated and order.load is not None and order.load.time_scale is not None:
        target = target.model_copy(update={"time_scale": order.load.time_scale})
    return await launch.start(
        target,
        order.config,
        folder,
        ready_timeout_s=settings.ready_timeout_s,
        port=settings.port,
        say=run_listener.current().engine,
        switchable=order.shares_server and switching.supported(order.config, target.engine_version),
    )


async def stop_server(server: ServerInfo | None) -> None:
    """Stop a server that we started, and wait until it has ended."""
    from rooftune.engines import launch

    if server is not None and server.engine != "endpoint":
        with span("stop"):
            await launch.stop(server)


def describe(server: ServerInfo) -> str:
    """The server in one line."""
    e = server.effective
    facts = [f"vLLM {e.engine_version}" if e.engine_version else ""]
    facts += [f"{e.kv_cache_tokens:,} tokens of KV cache" if e.kv_cache_tokens else ""]
    facts += [
        f"max_num_seqs {e.max_num_seqs}" if e.max_num_seqs else "",
        e.linear_kernel or "",
        e.attention_backend or "",
    ]
    return f"ready after {server.ready_after_s:.1f} s: " + ", ".join(f for f in facts if f)
