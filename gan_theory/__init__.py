"""The Adversarial Game: the theory of generative adversarial networks, computed and checked."""
