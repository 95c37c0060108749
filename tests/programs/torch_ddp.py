"""Trains accelerated modules in two processes, by DDP; prints how far from plain torch in one."""

import os
import sys

import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import rnnfast


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 8, num_layers=2, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def train(rank, size, folder):
    torch.manual_seed(0)
    x, y = torch.randn(24, 7, 3), torch.randn(24, 2)
    model = Model()
    if size > 1:
        rnnfast.torch.accelerate(model)
        where = f"file://{folder}/meeting"
        distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=size)
        learner = DistributedDataParallel(model)
    else:
        learner = model
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for xb, yb in zip(x.split(8), y.split(8), strict=True):
        optimizer.zero_grad()
        nn.functional.mse_loss(learner(xb[rank::size]), yb[rank::size]).backward()
        optimizer.step()
    if size > 1:
        torch.save([p.detach() for p in model.parameters()], f"{folder}/{rank}.pt")
        del learner
        distributed.barrier()  # else one may leave while the other's threads still talk to it
        distributed.destroy_process_group()
    return [p.detach() for p in model.parameters()]


if __name__ == "__main__":
    folder = sys.argv[1]
    multiprocessing.spawn(train, (2, folder), 2)
    ranks = [torch.load(os.path.join(folder, f"{rank}.pt")) for rank in range(2)]
    assert all(torch.equal(*pair) for pair in zip(*ranks, strict=True))
    pairs = zip(ranks[0], train(0, 1, folder), strict=True)
    print(max(float((one - other).abs().max()) for one, other in pairs))
