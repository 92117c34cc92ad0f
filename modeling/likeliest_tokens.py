"""The likeliest of the next tokens, for the searches of `search.py`.

`topk` and `argmax` look at every token of the vocabulary with care; a maximum is several times faster. So the maxima of
chunks come first, and the careful look is at the best chunks alone. The result is exact.

Letters of the shape comments: B sentences, N beams, V target vocabulary.
"""

import torch

CHUNK = 128  # tokens
FEW = 2**16  # logits for which one call with care takes less time than several fast ones
BLOCK = 2**18  # logits that a core's cache holds while one pass after another goes over them


def likeliest(scores: torch.Tensor) -> torch.Tensor:
    """Return `scores.argmax(-1)` of `[B, V]`, at the speed of a maximum: first of chunks, then within the best one."""
    if scores.numel() < FEW:
        return scores.argmax(dim=-1)
    tokens = chunk_maxima(scores).argmax(dim=-1, keepdim=True) * CHUNK  # [B, 1]
    tokens = tokens + torch.arange(CHUNK, device=tokens.device)  # [B, CHUNK]
    inside = scores.gather(1, tokens.clamp(max=scores.shape[1] - 1)).masked_fill(tokens >= scores.shape[1], -torch.inf)
    return tokens.gather(1, inside.argmax(dim=-1, keepdim=True)).squeeze(1)


def likeliest_extensions(
    logits: torch.Tensor, maxima: torch.Tensor, normalizer: torch.Tensor, running: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` greatest of `logits - normalizer + running`, and the tokens and beams that they belong to.

    The `count` greatest lie in the chunks with the `count` greatest maxima, so that only these are looked through.

    Args:
        logits: `[B, N, V]`. maxima: of their chunks, see `chunk_maxima`. normalizer, running: `[B, N]`.

    Returns:
        The sums `[B, count]`, greatest first, and for each its token and its beam, `[B, count, 2]`.
    """
    size, vocabulary = CHUNK, logits.shape[2]
    if maxima[0].numel() < count:
        size, maxima = 1, logits
    sums = maxima - normalizer.unsqueeze(2) + running.unsqueeze(2)
    chosen = sums.flatten(1).topk(min(count, sums[0].numel())).indices  # [B, count]
    beams, chunks = chosen // maxima.shape[2], chosen % maxima.shape[2]
    tokens = chunks.unsqueeze(2) * size + torch.arange(size, device=chunks.device)  # [B, count, size]
    places = beams.unsqueeze(2) * vocabulary + tokens.clamp(max=vocabulary - 1)
    values = logits.flatten(1).gather(1, places.flatten(1)).view(places.shape)
    sums = values - normalizer.gather(1, beams).unsqueeze(2) + running.gather(1, beams).unsqueeze(2)
    sums, chosen = sums.masked_fill(tokens >= vocabulary, -torch.inf).flatten(1).topk(count)
    found = [tokens.flatten(1).gather(1, chosen), beams.gather(1, chosen // size)]
    return sums, torch.stack(found, dim=2)


def log_sum_exp(logits: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
    """Return `logits.logsumexp(-1)` of `[B, N, V]`, on the CPU a block at a time.

    The greatest share of a softmax is exp(greatest - logsumexp), and softmax is the fastest way to many exponentials.

    Args:
        maxima: of the chunks of `logits`, see `chunk_maxima`.
    """
    if logits.device.type != "cpu":
        return logits.logsumexp(dim=-1)
    blocks = logits.flatten(0, 1).split(max(1, BLOCK // logits.shape[2]))
    shares = torch.cat([block.softmax(dim=-1).amax(dim=-1) for block in blocks])  # [B * N]
    return maxima.amax(dim=-1) - shares.log().view(logits.shape[:2])


def chunk_maxima(scores: torch.Tensor) -> torch.Tensor:
    """Return the maximum of each CHUNK of `[..., V]`, and of what is left over behind the last: `[..., chunks]`."""
    end = scores.shape[-1] // CHUNK * CHUNK
    maxima = scores[..., :end].unflatten(-1, (end // CHUNK, CHUNK)).amax(dim=-1)
    if end == scores.shape[-1]:
        return maxima
    return torch.cat([maxima, scores[..., end:].amax(dim=-1, keepdim=True)], dim=-1)
