"""Wrong attention functions in JAX, each with the mistakes that it makes."""

import jax
import jax.numpy as jnp


@jax.jit
def over_queries(q, k, v):
    return jax.nn.softmax(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5, axis=-2) @ v


def unscaled(query, key, value):
    return jax.nn.softmax(query @ key.swapaxes(-1, -2)) @ value


def multiplied(q, k, v, mask=None):
    logits = q @ k.swapaxes(-1, -2) / jnp.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits * mask
    return jax.nn.softmax(logits) @ v


CASES = [
    (over_queries, {"softmax_over_queries"}, {}),
    (unscaled, {"missing_scale"}, {}),
    (multiplied, {"mask_multiplied_before_softmax"}, {}),
]
