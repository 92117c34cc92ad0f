"""The settings of a training run: small dataclasses by concern.

Every field is one flat key of a recipe and one flag of the command line. `recipe.py` reads both, `checks.py` says what
must hold between them. Defaults of the model are those of `SineformerConfig`, which is their only home.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...configuration.configuration_sineformer import SineformerConfig

SPLITS = ("train", "validation", "test")
LATEST = "latest"
NO_TRACKER = "none"
DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")


def setting(text: str, default: Any, **more: Any) -> Any:
    """A dataclass field with its help text, as `HfArgumentParser` reads it; `more` goes to `add_argument`."""
    return field(default=default, metadata={"help": text, **more})


@dataclass
class ModelArguments:
    """The architecture: fields of `SineformerConfig` under the same names, and the attention implementation."""

    d_model: int = setting("Width of the model.", SineformerConfig.d_model)
    encoder_layers: int = setting("Encoder layers.", SineformerConfig.encoder_layers)
    decoder_layers: int = setting("Decoder layers.", SineformerConfig.decoder_layers)
    encoder_attention_heads: int = setting("Heads per encoder layer.", SineformerConfig.encoder_attention_heads)
    decoder_attention_heads: int = setting("Heads per decoder layer.", SineformerConfig.decoder_attention_heads)
    encoder_ffn_dim: int = setting("Inner width of encoder feed-forward layers.", SineformerConfig.encoder_ffn_dim)
    decoder_ffn_dim: int = setting("Inner width of decoder feed-forward layers.", SineformerConfig.decoder_ffn_dim)
    dropout: float = setting("Dropout on sublayer outputs and on embeddings.", float(SineformerConfig.dropout))
    attention_dropout: float = setting("Dropout on attention weights.", float(SineformerConfig.attention_dropout))
    activation_dropout: float = setting("Dropout inside the feed-forward.", float(SineformerConfig.activation_dropout))
    encoder_layerdrop: float = setting(
        "Probability that a micro-batch leaves an encoder layer out.", float(SineformerConfig.encoder_layerdrop)
    )
    decoder_layerdrop: float = setting("The same for a decoder layer.", float(SineformerConfig.decoder_layerdrop))
    activation_function: str = setting("Feed-forward activation.", SineformerConfig.activation_function)
    normalize_before: bool = setting("Pre-norm instead of the paper's post-norm.", SineformerConfig.normalize_before)
    tie_word_embeddings: bool = setting("One matrix for embedding and output.", SineformerConfig.tie_word_embeddings)
    max_position_embeddings: int = setting("Size of the position table.", SineformerConfig.max_position_embeddings)
    attn_implementation: str = setting("Attention backend: eager, sdpa, flex_attention, ...", "sdpa")

    def config_fields(self) -> dict[str, Any]:
        """The settings that `SineformerConfig` takes under the same names."""
        fields = dataclasses.asdict(self)
        fields.pop("attn_implementation")
        return fields


@dataclass
class FineTuningArguments:
    """The model to begin from instead of a fresh one, and which part of it is trained."""

    model_name_or_path: str | None = setting(
        "Begin from this Sineformer, a folder or an id of the Hub: its weights, architecture and tokenizer.", None
    )
    model_revision: str | None = setting("Branch, tag or commit of a model on the Hub.", None)
    freeze: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Parts of that model that stay as they are: embeddings, encoder, decoder, lm_head, "
            "encoder.layers.0, decoder.layers.*.fc1, ..."
        },
    )
    lora_r: int = setting("Rank of the low-rank adapters (PEFT) that are trained in its place; 0 for none.", 0)
    lora_alpha: int = setting("Adapters are scaled by lora_alpha / lora_r.", 16)
    lora_dropout: float = setting("Dropout on the input of adapters.", 0.0)
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["q_proj", "v_proj"],
        metadata={"help": "Linear layers that get an adapter, by the end of their names; or all-linear."},
    )


@dataclass
class DataArguments:
    """Where the sentence pairs come from and which of them are kept."""

    dataset: str = setting("'embedded' (needs no data), 'files', or the id of a dataset on the Hub.", "embedded")
    dataset_config: str | None = setting("Configuration name of the Hub dataset.", None)
    dataset_name: str | None = setting("What the model card calls the data; left out: the value of dataset.", None)
    data_dir: str = setting("Folder that the names of data files are relative to.", ".")
    train_files: list[str] = field(
        default_factory=list, metadata={"help": "Two parallel text files, or TSV, CSV, JSONL or Parquet files."}
    )
    validation_files: list[str] = field(default_factory=list, metadata={"help": "The same for validation."})
    test_files: list[str] = field(default_factory=list, metadata={"help": "The same for the test; may be left out."})
    train_split: str = setting("Split of the Hub dataset to train on; slices such as train[:95%%] work.", "train")
    validation_split: str = setting("Split of the Hub dataset for validation.", "validation")
    test_split: str | None = setting("Split of the Hub dataset for the test; may be left out.", None)
    source_language: str = setting("Code of the source language.", "en")
    target_language: str = setting("Code of the target language.", "de")
    source_column: str | None = setting("Column of the source; in translation rows, its language.", None)
    target_column: str | None = setting("Column of the target; in translation rows, its language.", None)
    train_size: int = setting("Pairs to draw from the embedded task for training.", 40_000)
    validation_size: int = setting("Pairs of the embedded task for validation.", 500)
    test_size: int = setting("Pairs of the embedded task for the test.", 1_000)
    max_characters: int = setting("Longest usable sentence, in characters.", 2_000)
    max_length: int = setting("Longest usable sentence, in tokens, end token included.", 256)
    max_length_ratio: float = setting(
        "Largest usable ratio of the lengths of both sides, in letters: a Chinese character counts as three, one of "
        "kana, Hangul or another wide script as two.",
        5.0,
    )
    streaming: bool = setting("Read training data as they are needed, never as a whole; for those without end.", False)
    shuffle_buffer: int = setting("Pairs of a stream that are in memory, over all processes.", 100_000)
    stream_workers: int = setting("Processes beside each one that trains, which read and tokenise the stream.", 0)
    cache_dir: str | None = setting(
        "Folder for the tokenised training data, which then need not fit into memory; left out: it is in memory.", None
    )
    on_bad_rows: Literal["drop", "refuse"] = setting("What to do with unusable rows: both report them.", "drop")
    max_unusable_share: float = setting(
        "Largest share of the rows of a set that may be unusable; where more are, training does not start.", 0.1
    )

    def files_of(self, split: str) -> list[Path]:
        """The data files of a split, below `data_dir`."""
        return [Path(self.data_dir) / name for name in getattr(self, f"{split}_files")]


@dataclass
class TokenizerArguments:
    """The subword vocabulary, trained from the training data, and how training text is cut into it."""

    vocab_size: int = setting(
        "Tokens of the joint vocabulary (section 5.1), or of the source where it has its own.", 8_000
    )
    target_vocab_size: int | None = setting("Tokens of a separate target vocabulary; left out: a joint one.", None)
    tokenizer_sample: int | None = setting(
        "Train it on so many pairs, drawn from the training data, of a stream the first; left out: on all of them.",
        None,
    )
    bpe_dropout: float = setting(
        "Probability that a merge is passed over when training text is cut into subwords (BPE-dropout, Provilkov et "
        "al., 2020), anew in every epoch and in memory; 0.1 in the paper.",
        0.0,
    )


@dataclass
class OptimisationArguments:
    """The update rule, the batches, and when training ends (whichever limit comes first)."""

    learning_rate: float = setting(
        "Peak of the schedule, reached after warmup_steps; with noam a factor, 1 in the paper.", 7e-4
    )
    lr_scheduler_type: Literal["inverse_sqrt", "linear", "cosine", "noam"] = setting(
        "Learning rate after the warm-up: inverse_sqrt as in section 5.3; linear or cosine, down to zero at the last "
        "step; noam, equation (3) itself, scaled by d_model and warmup_steps.",
        "inverse_sqrt",
    )
    warmup_steps: int = setting("Steps of linear warm-up (section 5.3).", 4_000)
    max_tokens: int = setting("Tokens in a batch of one process, padding included, on its larger side.", 4_096)
    gradient_accumulation_steps: int = setting("Batches per process and step.", 1)
    max_grad_norm: float = setting("Largest norm of the gradient; 0 leaves it as it is.", 0.0)
    max_skipped_steps: int = setting(
        "Skip up to so many steps in a row whose loss or gradient is not finite; one more ends the run.", 10
    )
    label_smoothing: float = setting("Label smoothing (section 5.4).", 0.1)
    r_drop: float = setting(
        "R-Drop (Liang et al., 2021): weight of the divergence of two passes with different dropout, such as 1; each "
        "step takes twice the time and memory. 0: one pass.",
        0.0,
    )
    ema_decay: float = setting(
        "Evaluate and publish an exponential moving average of the weights, with this decay, such as 0.999; 0: the "
        "weights themselves.",
        0.0,
    )
    average_checkpoints: int = setting(
        "At the end, try the mean of the last so many evaluated models too (section 6.1: 5) and publish it if it is "
        "the best. Every process keeps copies of their weights.",
        1,
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = setting("Precision of the forward pass.", "no")
    max_steps: int | None = setting("Stop after so many steps.", None)
    num_epochs: int | None = setting("Stop after so many passes over the training data.", None)
    max_minutes: float | None = setting("Stop after so many minutes of training, evaluation included.", None)


@dataclass
class EvaluationArguments:
    """When and how the model is measured, and which checkpoint is the best."""

    eval_steps: int | None = setting("Evaluate every so many steps; left out: after each epoch.", None)
    best_metric: str = setting("Validation metric that chooses the best checkpoint: bleu, chrf, loss, ...", "bleu")
    bleu_tokenize: str | None = setting(
        "Tokenizer of sacrebleu for BLEU: 13a, intl, zh, char, ja-mecab, ...; left out: the one that goes with the "
        "target language.",
        None,
    )
    patience: int | None = setting("Stop after so many evaluations in a row without a better one.", None)
    eval_num_beams: int = setting("Beams of the translations of the validation set; 1 is greedy.", 1)
    eval_batch_size: int = setting("Sentences translated at once.", 64)
    num_beams: int = setting("Beams of the test at the end, saved as the default of the model.", 4)
    length_penalty: float = setting("Exponent of the length in beam search, saved as the default.", 1.0)


@dataclass
class RunArguments:
    """The folder and the record of the run."""

    output_dir: str | None = setting("Folder for the model and the record of its training.", None)
    overwrite_output_dir: bool = setting(
        "Write into an output folder that is not empty; checkpoints of a run there are removed.", False
    )
    resume_from_checkpoint: str | None = setting(
        "Go on with the run in output_dir: from its latest whole checkpoint if nothing follows, or from that folder. "
        "A run that had not come to a checkpoint begins anew, one that has finished stays as it is.",
        None,
        aliases=["--resume"],
        nargs="?",
        const=LATEST,
    )
    save_steps: int | None = setting("Save a checkpoint to go on from every so many steps.", None)
    save_minutes: float | None = setting("The same every so many minutes.", 15.0)
    save_total_limit: int = setting("Checkpoints that stay, beside the best model: the last so many.", 2)
    use_cpu: bool = setting("Train on the CPU even where there is an accelerator.", False)
    seed: int = setting("Seed of initialisation, batches and dropout.", 1)
    logging_steps: int = setting("Report every so many steps.", 50)
    profile: bool = setting("Write a profile of a few steps, after the first ones.", False)
    report_to: list[str] = field(
        default_factory=lambda: ["tensorboard"],
        metadata={"help": "Who is told of the run beside metrics.jsonl: tensorboard, wandb, both, or none."},
    )

    @property
    def trackers(self) -> list[str]:
        """Those that `report_to` names."""
        return [name for name in self.report_to if name != NO_TRACKER]


@dataclass
class Settings:
    """All settings of a run, by concern."""

    model: ModelArguments
    finetuning: FineTuningArguments
    data: DataArguments
    tokenizer: TokenizerArguments
    optimisation: OptimisationArguments
    evaluation: EvaluationArguments
    run: RunArguments

    def as_dict(self) -> dict[str, Any]:
        """The flat keys and values of a recipe that repeats this run."""
        flat: dict[str, Any] = {}
        for concern in dataclasses.fields(self):
            flat |= dataclasses.asdict(getattr(self, concern.name))
        return flat


# Settings that name files and folders. `recipe.py` puts the home folder in the place of `~` in each of them; some may
# name something on the Hub instead, which never begins with it.
PATHS = (
    *("dataset", "data_dir", "train_files", "validation_files", "test_files", "cache_dir"),
    *("model_name_or_path", "output_dir", "resume_from_checkpoint"),
)

CONCERNS: dict[str, Any] = {
    "model": ModelArguments,
    "finetuning": FineTuningArguments,
    "data": DataArguments,
    "tokenizer": TokenizerArguments,
    "optimisation": OptimisationArguments,
    "evaluation": EvaluationArguments,
    "run": RunArguments,
}
