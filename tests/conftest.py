"""What all tests share. Its being here also makes the helpers of this folder importable (`import toy_env`)."""

import torch

# several test runs share a machine, and tensors this small gain nothing from threads
torch.set_num_threads(1)
