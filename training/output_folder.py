"""Name the files and folders that a run leaves in its output folder."""

CARD = "README.md"
METRICS_FILE = "metrics.jsonl"
SETTINGS_FILE = "training_args.yaml"
VERSIONS_FILE = "versions.json"
REPORT_FILE, PICTURE_FILE = REPORT_FILES = ("report.html", "report.png")
PROFILE_FOLDER = "profile"
TENSORBOARD, WANDB = TRACKERS = ("tensorboard", "wandb")  # each leaves a folder of its name
CHECKPOINTS = "checkpoints"
ADAPTER_FOLDER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_WEIGHTS, "adapter_config.json")
