"""Attention over any array: the floor that everything else in regard stands on.

    attention       attend, attention and the record Attention
    scores          how well a query matches a key: dot, scaled_dot, general, additive
    normalizers     from scores to weights: softmax
    masks           who may look where: causal, window, padding, from_torch_mha

An attention is three steps, and this package holds one file for each idea in them:

    scores  = score(query, keys) + bias      scores.py
    weights = normalizer(scores)             normalizers.py, after masks.py and constraints.py hid what may
    not be seen context = weights @ values               attention.py

NumPy is enough. Arrays of PyTorch, JAX and CuPy are computed by their own library, found through
array-api-compat, and no library is imported before an array of it is handed in. What holds for all of them:

    mask            True where a query may look. Numbers are added to the scores by bias=.
    empty row       a query that may look nowhere gets zeros: weights, context and gradient; its
    log_normalizer is -inf. hidden          a NaN or an infinity in a masked key or value reaches neither the
    result nor anybody else's gradient. causal          the last query stands at the last key; query_offset=0
    lets the first query stand at the first key. precision       scores, weights and statistics are float32 or
    wider; the context has the dtype of the values.
"""
