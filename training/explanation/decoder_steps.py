"""Describe the steps of the decoder: masks, cross-attention, probabilities, beam search, and the loss."""

from __future__ import annotations

import math

import numpy as np
import torch

from .labels import visible
from .numpy_attention import attention
from .step import Step, label, legend, matrix, shape
from .trace import SMOOTHING, Trace

LAYER = "model.decoder.layers.0"
SHOWN = 3  # runners-up of a token


def read_beginning(trace: Trace) -> Step:
    """Describe the decoder's input and the causal mask."""
    tokens = trace.inspection.inputs
    visible = trace.visible(LAYER)
    assert visible is not None
    rows = [
        label(token) + " " + " ".join("x" if seen else "." for seen in row[:28])
        for token, row in zip(tokens[:12], visible, strict=False)
    ]
    return Step(
        "The decoder and the causal mask",
        "3.2.3",
        "modeling/encoder_decoder.py: causal_mask_function",
        "score[i, j] = -infinity for j > i",
        f"The decoder reads the translation so far, {len(tokens)} tokens from the start token on, and predicts the "
        "next token at each. In training it reads all of them at once; the mask (x: may be seen) hides what comes "
        "later.",
        rows,
    )


def attend_to_itself(trace: Trace) -> Step:
    """Describe causal self-attention, one head by NumPy and by the model."""
    name = f"{LAYER}.self_attn"
    query, key, value = (trace.heads(name, f"{each}_proj") for each in "qkv")  # [H, T, K] each
    in_numpy, weights = attention(query[0].numpy(), key[0].numpy(), value[0].numpy(), trace.visible(LAYER))
    difference = float(np.abs(in_numpy - trace.joined_heads(name)[:, : query.shape[2]].numpy()).max())
    tokens = trace.inspection.inputs
    return Step(
        "Causal self-attention",
        "3.2.3",
        "modeling/layers.py: SineformerDecoderLayer",
        "Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k) + mask) V",
        "Layer 1, head 1: the weights above the diagonal are zero (.). NumPy and the model differ by at most "
        f"{difference:.0e}.",
        matrix(tokens, tokens, torch.from_numpy(weights)),
        "causal",
    )


def attend_to_source(trace: Trace) -> Step:
    """Describe cross-attention: the alignment."""
    seen = trace.inspection.cross_attention().by_words()
    return Step(
        "Cross-attention",
        "3.2.3",
        "modeling/attention.py: MultiHeadAttention",
        "Q from the decoder, K and V from the encoder's output",
        "Here the translation looks at the source: a row for each target word, as the mean over layers and heads. Each "
        "weight is computed anew for each target word: this is what a fixed vector could not do.",
        matrix(seen.queries, seen.keys, seen.weights) + legend(seen.keys),
        "alignment",
    )


def predict(trace: Trace) -> Step:
    """Describe logits and softmax."""
    logits = trace.output("lm_head")  # [T, V]
    seen = trace.inspection
    rows = []
    for token, probability, others in zip(seen.target, seen.probabilities, seen.runners_up, strict=True):
        named = "  ".join(f"{visible(each.token)} {each.probability:.2f}" for each in others[:SHOWN])
        rows.append(f"{label(token)}{probability:6.2f}   {named}"[:76].rstrip())
    return Step(
        "Logits and probabilities",
        "3.4",
        "modeling/modeling_sineformer.py: SineformerForConditionalGeneration",
        "P(next token) = softmax(x E^T)" if trace.model.config.tie_word_embeddings else "P(next token) = softmax(x W)",
        f"The last vector at each position is compared with every token of the vocabulary, {shape('TV', logits)}. "
        "Beside each token of the translation: its probability, and the tokens that came closest.",
        rows,
    )


def search(trace: Trace) -> Step:
    """Describe the hypotheses of beam search."""
    penalty = trace.model.generation_config.length_penalty or 1.0
    rows = ["  score   log P  length  translation"]
    for each in trace.hypotheses:
        length, score = len(each.ids), each.score or 0.0
        rows.append(f"{score:7.3f}{score * length**penalty:8.3f}{length:8}  {visible(each.text)}"[:76].rstrip())
    beams = len(trace.hypotheses)
    return Step(
        "Beam search" if beams > 1 else "Greedy search",
        "6.1",
        f"modeling/search.py: {'BeamSearch' if beams > 1 else 'GreedySearch'}",
        f"score(y) = log P(y | x) / |y|^{penalty:g}",
        (
            f"The likeliest next token need not begin the likeliest translation. So the {beams} best beginnings are "
            "kept at each step, and the finished ones are compared by their score."
            if beams > 1
            else "The likeliest next token is taken at each step."
        ),
        rows,
    )


def compute_loss(trace: Trace) -> Step:
    """Describe the loss of the reference."""
    mean = sum(loss for _, loss in trace.reference) / len(trace.reference)
    return Step(
        "The loss",
        "5.4",
        "modeling/loss.py: cross_entropy",
        "loss = mean of -log P(y_t | y_<t, x)",
        f"Training makes the reference likelier: per token it costs {mean:.3f} nats, a perplexity of "
        f"{math.exp(mean):.2f}. With label smoothing of {SMOOTHING}, which asks for a little probability for every "
        f"other token too, the loss is {trace.smoothed_loss:.3f}.",
        [f"{label(token)}{loss:9.3f}" for token, loss in trace.reference],
    )


STEPS = (read_beginning, attend_to_itself, attend_to_source, predict, search, compute_loss)
