"""Each option once, with the words that explain it: on the command line and, for flows, in Prefect's UI."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from rooftune.engines.target import EngineKind
from rooftune.tuning.guided.search_plan import SearchMethod

WorkloadName = Annotated[
    str, Argument(metavar="WORKLOAD", help="Name of a workload (see `rooftune workloads`), or path of a YAML file.")
]
RunPath = Annotated[
    str,
    Argument(
        metavar="RUN",
        help="Run folder (artifacts/chat-medium/20260101-120000-ab12), or chat-medium/latest, or latest.",
    ),
]
Json = Annotated[bool, Option("--json", help="Print one JSON value to standard output.")]
Gpu = Annotated[
    str | None,
    Option("--gpu", help="Accelerator: T4, L4, A10G, A100-80, L40S, H100 ... (case, spaces, dashes ignored); or cpu."),
]
Model = Annotated[
    str | None,
    Option("--model", help="llama-2-7b, llama-3.1-8b, qwen2.5-7b ...; a folder or file with config.json; a hub id."),
]
EngineVersion = Annotated[str | None, Option("--engine-version", help="vLLM version, for example 0.15.1 or 0.32.0.")]
Flags = Annotated[
    list[str] | None,
    Option("--set", metavar="FLAG=VALUE", help="A vLLM flag, with underscores: --set max_num_seqs=8. Repeatable."),
]
Calibration = Annotated[
    str | None,
    Option(
        "--calibration",
        metavar="FILE",
        envvar="ROOFTUNE_CALIBRATION",
        help="Constants from `rooftune calibrate`, or none. Default: your newest file for that accelerator.",
    ),
]
Acceptance = Annotated[
    str | None,
    Option(
        "--acceptance",
        metavar="SHARES|FILE",
        help="How drafts of speculative decoding fare: the chance of each token (0.6, the default), the share of the "
        "drafts accepted up to each position (0.8,0.6,0.4), an answers.parquet to replay, or the folder of "
        "a trial or run.",
    ),
]
Engine = Annotated[
    EngineKind,
    Option("--engine", help="simulated (no GPU needed), vllm (a real process), or endpoint (a server you name)."),
]
GpuPrice = Annotated[
    float | None,
    Option(
        "--price",
        min=0.0001,
        help="US dollars per accelerator and hour, for costs. Default: the list price of the catalogue.",
    ),
]
Url = Annotated[
    str | None, Option("--url", help="Address of the server for --engine endpoint, such as http://127.0.0.1:8000.")
]
VllmPython = Annotated[
    str | None,
    Option("--vllm-python", help="Python interpreter that has vLLM. Default: .venv-vllm, built by `make vllm`."),
]
TimeScale = Annotated[
    float | None, Option("--time-scale", help="Run the simulated engine's clock this much faster. Default: 25.")
]
Seed = Annotated[int | None, Option("--seed", help="Seed of the workload; the same seed sends the same requests.")]
Duration = Annotated[float | None, Option("--duration", help="Override the workload's measured window, in seconds.")]
Warmup = Annotated[float | None, Option("--warmup", help="Override the workload's warm-up, in seconds.")]
Rate = Annotated[float | None, Option("--rate", help="Override the workload's request rate, in requests per second.")]
Slo = Annotated[
    list[str] | None,
    Option(
        "--slo",
        metavar="LIMIT=VALUE",
        help="A limit of the SLO: ttft_ms=500; also answer_ttft_ms, tpot_ms, e2el_ms (ttft_ms=none removes it), and "
        "share=0.95. Repeatable.",
    ),
]
Objective = Annotated[
    str | None,
    Option(
        "--objective",
        metavar="METRIC",
        help="What decides: capacity (requests/s within the SLO), cost_per_million_output_tokens_usd, "
        "energy_per_output_token_j (NVIDIA GPUs), output_throughput, request_throughput, total_token_throughput, "
        "request_goodput, or median_ or p99_ of ttft_ms, tpot_ms, e2el_ms. "
        "Default: the workload's, else capacity if it has an SLO.",
    ),
]
Constraints = Annotated[
    list[str] | None,
    Option(
        "--constraint",
        metavar="METRIC<=VALUE",
        help="A bound that a winning configuration must keep: --constraint 'p99_ttft_ms<=800' (or >=). Repeatable.",
    ),
]
AcceptQualityLoss = Annotated[
    bool,
    Option(
        "--accept-quality-loss",
        help="Let a configuration win even if a check finds that it spoils the answers. Also with --resume: the trials "
        "of the run are kept, and the search goes on.",
    ),
]
QualityCommand = Annotated[
    str | None,
    Option(
        "--quality-command",
        metavar="COMMAND",
        help="Your own evaluation of a server, run in a shell: {url}, {model} and {output} are replaced, and "
        "ROOFTUNE_URL, ROOFTUNE_MODEL and ROOFTUNE_OUTPUT are set. It prints JSON, or writes it to {output}.",
    ),
]
QualityValue = Annotated[
    str | None,
    Option(
        "--quality-value",
        metavar="PATH",
        help="Where that JSON has the value, such as results.gsm8k.exact_match, or items: samples.*.score. "
        "Higher is better; append :lower where lower is better.",
    ),
]
Drain = Annotated[float | None, Option("--drain", help="Longest wait for answers after the last arrival, in seconds.")]
Artifacts = Annotated[str, Option("--artifacts", help="Folder to write runs to.")]
Playbook = Annotated[
    str | None, Option("--playbook", help="YAML file that adds candidates to the built-in playbook or replaces them.")
]
Search = Annotated[
    SearchMethod | None,
    Option(
        "--search",
        help="guided (a model chooses each trial from the whole space), ladder (the playbook, phase by phase), tpe, "
        "random or grid. Default: guided where the simulator predicts the objective, else ladder.",
    ),
]
Candidates = Annotated[
    list[str] | None,
    Option(
        "--candidate",
        metavar="NAME=FLAG=VALUE,...",
        help="Your own configuration to try: --candidate small=max_num_seqs=4. Repeatable.",
    ),
]
Checkpoints = Annotated[
    list[str] | None,
    Option(
        "--checkpoint",
        metavar="ID|FOLDER",
        help="Other weights of the same model to try (AWQ, GPTQ, FP8, W8A8, NVFP4, MXFP4): a hub id, a model folder, "
        "or a folder of model folders. Those in the hub cache are found without it. Repeatable.",
    ),
]
DraftModels = Annotated[
    list[str] | None,
    Option(
        "--draft-model",
        metavar="ID|FOLDER",
        help="A model that can draft for speculative decoding: a small model of the same vocabulary, an EAGLE head, or "
        "a folder of them. Those in the hub cache are found without it. Tried where prompts have texts. Repeatable.",
    ),
]
Budget = Annotated[
    str | None,
    Option("--budget", help="Real time for all trials: 10m, 90s. Default: 340s simulated, 15m endpoint, 1h vllm."),
]
ClientProcesses = Annotated[
    int | None,
    Option("--client-processes", min=1, help="Number of client processes. Default: as many as the rate needs."),
]
CapacityBudget = Annotated[
    str | None,
    Option("--budget", help="Real time of load after which no further step begins: 10m, 90s. Default: no limit."),
]
Precision = Annotated[
    str, Option("--precision", help="Half width of the interval at which the measurement ends, such as 5%.")
]
Per = Annotated[
    str | None,
    Option("--per", help="What the capacity counts: rate (requests/s), or users. Default: users for closed loops."),
]
Users = Annotated[
    int | None, Option("--users", min=1, help="Users to find servers for, in a closed loop; implies --per users.")
]
ThinkTime = Annotated[
    float | None,
    Option("--think-time", min=0, help="Mean pause of a user after an answer, in seconds. Default: the workload's."),
]
Save = Annotated[
    str | None,
    Option("--save", metavar="FOLDER", help="Folder for the steps; a measurement that it holds is continued."),
]
Prompts = Annotated[
    str | None,
    Option(
        "--prompts",
        metavar="FILE|tokens|text",
        help="A file of your prompts; or how drawn prompts are sent: tokens (exact lengths), or text for servers "
        "that reject token ids.",
    ),
]
PromptsFile = Annotated[
    str | None,
    Option(
        "--prompts",
        metavar="FILE",
        help="Your own prompts in place of drawn ones: JSONL, ShareGPT, an OpenAI batch file, or one per line.",
    ),
]
TextWorkload = Annotated[
    str,
    Argument(
        metavar="WORKLOAD",
        help="Name of a workload (see `rooftune workloads`), or path of a YAML file. With --prompts it is optional: "
        "then the load and the SLO are those of chat-medium.",
        show_default=False,
    ),
]
VocabSize = Annotated[int | None, Option("--vocab-size", min=16, help="Draw token ids below this number.")]
RequestTimeout = Annotated[float, Option("--request-timeout", min=1, help="Seconds after which a request fails.")]
ReadyTimeout = Annotated[
    float | None, Option("--ready-timeout", min=1, help="Longest wait until a server is ready, in seconds.")
]
Resume = Annotated[
    str | None, Option("--resume", metavar="RUN", help="Continue this run; trials that it has measured are kept.")
]

ARTIFACTS = "artifacts"
