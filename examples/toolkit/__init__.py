"""What the example scripts share: data, tokenizer, batches, training loop, scores, pictures."""
