"""Describe the steps of the encoder, from the text to its output, in the first layer in detail."""

from __future__ import annotations

import numpy as np
import torch

from .numpy_attention import attention
from .step import Step, label, matrix, numbers, shape, vectors
from .trace import Trace

LAYER = "model.encoder.layers.0"
ATTENTION = f"{LAYER}.self_attn"
PADDING = 3  # tokens


def segment(trace: Trace) -> Step:
    """Describe how the text becomes token ids."""
    rows = [f"{label(token)}{index:9}" for token, index in zip(trace.inspection.source, trace.source_ids, strict=True)]
    return Step(
        "Segmentation",
        "5.1",
        "modeling/tokenization_sineformer.py: SineformerTokenizer",
        "text -> tokens -> ids",
        f"Byte-pair encoding splits rare words into known pieces, here into {len(rows)} tokens of a vocabulary of "
        f"{trace.model.config.vocab_size:,}. A blank (shown as \N{OPEN BOX}) belongs to the token after it, and </s> "
        "ends the sentence.",
        rows,
    )


def embed(trace: Trace) -> Step:
    """Describe the embeddings."""
    scale = trace.model.model.encoder.embed_scale
    embedded = trace.output("model.encoder.embed_tokens")  # [S, D]
    squares = (embedded * scale).pow(2).mean().item()
    return Step(
        "Embeddings",
        "3.4",
        "modeling/encoder_decoder.py: SineformerStack.embed",
        "x = E[id] * sqrt(D)" if trace.model.config.scale_embedding else "x = E[id]",
        f"Each id selects a row of the embedding matrix E: {shape('SD', embedded)}. Multiplied by {scale:.2f}, the "
        f"features have a mean square of {squares:.2f}; those of the positions, which come next, have 0.50.",
        vectors(trace.inspection.source, embedded * scale),
    )


def add_positions(trace: Trace) -> Step:
    """Describe the positional encoding."""
    encoding = trace.output("model.encoder.embed_positions")  # [S, D]
    return Step(
        "Positions",
        "3.5",
        "modeling/positional_encoding.py: sinusoidal_encoding",
        "P[p, 2i] = sin(p / 10000^(2i/D)),  P[p, 2i+1] = cos(p / 10000^(2i/D))\nx = x + P",
        "Attention alone does not know the order of the words. The sines and cosines say where each token stands: the "
        "first features change quickly from one position to the next, the last ones slowly."
        + (
            ""
            if trace.model.config.position_layout == "interleaved"
            else " This model has the same features in another order, all sines first."
        ),
        vectors([f"position {index}" for index in range(len(encoding))], encoding),
        "positions",
    )


def project(trace: Trace) -> Step:
    """Describe queries, keys and values."""
    query, key, value = (trace.heads(ATTENTION, f"{name}_proj") for name in "qkv")  # [H, S, K] each
    before = trace.model.config.normalize_before
    return Step(
        "Queries, keys, values",
        "3.2.2",
        "modeling/attention.py: MultiHeadAttention._split_heads",
        ("x' = LayerNorm(x)\n" if before else "") + f"Q = {'x' + chr(39) if before else 'x'} W^Q, K and V likewise",
        "Each token asks by its query what it looks for, offers by its key what it can be found by, and hands over its "
        f"value. {len(query)} heads do so in {query.shape[2]} features each: [S, D] is split into "
        f"{shape('HSK', query)}. The numbers are those of head 1 and the first token.",
        [
            f"{name:{len('query')}} {numbers(each[0, 0])}"
            for name, each in (("query", query), ("key", key), ("value", value))
        ],
    )


def attend(trace: Trace) -> Step:
    """Describe one head, computed by NumPy and by the model."""
    query, key, value = (trace.heads(ATTENTION, f"{name}_proj") for name in "qkv")  # [H, S, K] each
    in_numpy, weights = attention(query[0].numpy(), key[0].numpy(), value[0].numpy(), trace.visible(LAYER))
    ours = trace.joined_heads(ATTENTION)[:, : query.shape[2]]  # [S, K]
    difference = float(np.abs(in_numpy - ours.numpy()).max())
    tokens = trace.inspection.source
    return Step(
        "One head of attention",
        "3.2.1",
        "modeling/attention.py: scaled_dot_product_attention",
        "Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V",
        f"Layer 1, head 1, in NumPy. Each row says what a token attends to; divided by sqrt({query.shape[2]}), the "
        f"scores stay in the range where softmax has a gradient. The output {shape('SK', ours)} differs from that of "
        f"the model by at most {difference:.0e}.",
        matrix(tokens, tokens, torch.from_numpy(weights)),
        "heads",
    )


def mask_padding(trace: Trace) -> Step:
    """Describe the mask of padding, by encoding the sentence with and without it."""
    encoder = trace.model.model.encoder
    ids = torch.tensor([trace.source_ids], device=trace.model.device)  # [1, S]
    pad = trace.model.config.pad_token_id or 0
    padded = torch.nn.functional.pad(ids, (0, PADDING), value=pad)  # [1, S + 3]
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, PADDING))  # [1, S + 3]
    with torch.inference_mode():
        output = encoder(padded, mask).last_hidden_state[0, : ids.shape[1]]  # [S, D]
        careless = encoder(padded).last_hidden_state[0, : ids.shape[1]]
    expected = encoded(trace)
    masked, unmasked = ((each - expected).abs().max().item() for each in (output, careless))
    return Step(
        "The mask of padding",
        "3.2.3",
        "modeling/encoder_decoder.py: SineformerEncoder.forward",
        "score = -infinity where the key is padding",
        "Sentences of a batch are padded to one length. The mask hides padding from every query, so that a sentence "
        "does not depend on its batch.",
        [
            f"mask of the sentence with {PADDING} tokens of padding:",
            " ".join(str(value) for value in mask[0, -24:].tolist()),
            f"its output changes by at most {masked:.2g} with the mask, by {unmasked:.2g} without",
        ],
    )


def join_heads(trace: Trace) -> Step:
    """Describe how the heads are joined."""
    joined, output = trace.joined_heads(ATTENTION), trace.output(ATTENTION)  # [S, D] each
    heads = trace.heads(ATTENTION, "q_proj")
    return Step(
        "Heads joined",
        "3.2.2",
        "modeling/attention.py: MultiHeadAttention.forward",
        "MultiHead(Q, K, V) = Concat(head_1, ..., head_h) W^O",
        f"Every head has looked at the sentence in its own way. Their outputs {shape('HSK', heads)} are laid side by "
        f"side, {shape('SD', joined)}, and W^O mixes them. The numbers are those of the first token.",
        [f"joined    {numbers(joined[0])}", f"times W^O {numbers(output[0])}"],
    )


def add_and_normalize(trace: Trace) -> Step:
    """Describe residual connection and layer normalisation around attention."""
    before = trace.model.config.normalize_before
    state, output = trace.record.inputs[LAYER][0], trace.output(ATTENTION)  # [S, D] each
    assert state is not None
    lines = [f"x           {numbers(state[0])}", f"attention   {numbers(output[0])}"]
    lines.append(f"sum         {numbers((state + output)[0])}")
    normalized = trace.output(f"{LAYER}.self_attn_layer_norm")[0]
    lines.append(f"{'LayerNorm(x)' if before else 'LayerNorm   '}{numbers(normalized)}")
    return Step(
        "Residual connection and layer normalisation",
        "3.1",
        "modeling/layers.py: SineformerLayer.residual",
        "x = x + Attention(LayerNorm(x))      (pre-norm)"
        if before
        else "x = LayerNorm(x + Attention(x))      (post-norm)",
        "Attention adds to what is known of a token and does not replace it, and gradients have a direct way back. "
        + ("This model normalises before each sub-layer, the paper after it." if before else "")
        + f" The normalised features of the first token have mean {normalized.mean():.2f} and standard deviation "
        f"{normalized.std():.2f}; without the learned scale and shift it would be 0 and 1.",
        lines,
    )


def feed_forward(trace: Trace) -> Step:
    """Describe the feed-forward network."""
    (inner,) = trace.record.inputs[f"{LAYER}.fc2"]
    assert inner is not None
    function = trace.model.config.activation_function
    relu = function == "relu"
    active = (inner > 0).float().mean().item()
    output = trace.output(f"{LAYER}.fc2")
    return Step(
        "Feed-forward network",
        "3.3",
        "modeling/layers.py: SineformerLayer.feed_forward",
        f"FFN(x) = {'max(0, x W_1 + b_1)' if relu else f'{function}(x W_1 + b_1)'} W_2 + b_2",
        f"Attention moves information between tokens; this network works on each token alone. Inner width "
        f"{shape('SF', inner)}, of which {active:.0%} is above zero here. It has a residual connection and a layer "
        "normalisation too.",
        [f"inner  {numbers(inner[0])}", f"output {numbers(output[0])}"],
    )


def stack_layers(trace: Trace) -> Step:
    """Describe the complete encoder."""
    tokens, output = trace.inspection.source, encoded(trace)  # [S, D]
    return Step(
        "The stack of layers",
        "3.1",
        "modeling/encoder_decoder.py: SineformerEncoder",
        "x = layer_N(... layer_2(layer_1(x)))",
        f"{trace.model.config.encoder_layers} layers of this kind follow each other. The output has a vector for each "
        f"token, {shape('SD', output)}, however long the sentence is: no fixed vector has to hold all of it.",
        vectors(tokens, output),
    )


def encoded(trace: Trace) -> torch.Tensor:
    """Return the output of the encoder, `[S, D]`."""
    last = trace.model.config.encoder_layers - 1
    normalizes = trace.model.config.add_final_layer_norm
    return trace.output("model.encoder.layer_norm" if normalizes else f"model.encoder.layers.{last}")


STEPS = (
    *(segment, embed, add_positions, project, attend, mask_padding, join_heads, add_and_normalize),
    *(feed_forward, stack_layers),
)
