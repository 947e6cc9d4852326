"""From texts and alignments to numbers the field believes. No PyTorch in here.

text        BLEU and chrF with signature and confidence interval, exact match
alignment   alignment error rate, gold links from files, links from soft weights, words from their pieces
"""
