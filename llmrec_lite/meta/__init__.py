"""Part III: meta-learning, which is learning from many tasks how to adapt to the next."""
