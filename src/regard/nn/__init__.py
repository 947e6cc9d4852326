"""PyTorch modules: recurrent layers and the attention that a decoder steps through."""
