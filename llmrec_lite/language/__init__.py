"""Part II: language models, from counting words to fine-tuning one that was pre-trained on the web."""
