"""Attention over any array: the floor that everything else in regard stands on.

    attention       attend, attention and the record Attention
    scores          how well a query matches a key: from the dot product to coverage
    normalizers     from scores to weights: softmax, sparsemax, entmax, sigmoid, top-k, hardmax
    masks           who may look where: causal, window, document, padding, …
    positions       how attention comes to know the order of its keys
    statistics      what may be known of the weights without holding them

Attention is three lines, and a file here holds one idea of them:

    scores  = score(query, keys) + bias      scores/, then constraints.py hides what may not be seen
    weights = normalizer(scores)             normalizers/
    context = weights @ values               plain.py, and faster in streaming.py, buffered.py, fused.py

NumPy is enough. Arrays of PyTorch, JAX and CuPy are computed by their own library, found through
array-api-compat, and no library is imported before an array of it is handed in. What holds for all of them:

    mask         True where a query may look. Numbers are added to the scores by bias=.
    empty row    A query that may look nowhere gets zeros: weights, context and gradient. Its log_normalizer
                 is -inf.
    hidden       A NaN or an infinity in a masked key or value reaches neither the result nor anybody else's
                 gradient.
    causal       The last query stands at the last key; with query_offset=0 the first at the first.
    precision    Scores, weights and statistics are float32 or wider; the context has the values' dtype.
"""
