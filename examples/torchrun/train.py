"""A data-parallel training of several processes, as torchrun starts it; here on CPUs, by gloo.

By hand: torchrun --nproc-per-node 2 train.py --width 64 --learning_rate 0.1
"""

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import mutransfer  # sweep

BATCH, INPUTS = 32, 16


def main() -> None:
    trial = mutransfer.trial(width=64, learning_rate=0.1, seed=0, steps=60)  # sweep
    distributed.init_process_group("gloo")
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    torch.set_num_threads(1)
    torch.manual_seed(trial.seed)
    net = nn.Sequential(nn.Linear(INPUTS, trial.width), nn.Tanh(), nn.Linear(trial.width, 1))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.learning_rate)
    teacher = torch.randn(INPUTS, generator=torch.Generator().manual_seed(1)) / INPUTS**0.5
    generator = torch.Generator().manual_seed(trial.seed)
    for step in range(trial.steps):
        inputs = torch.randn(BATCH, INPUTS, generator=generator)  # the batch is the trial's,
        mine = inputs[rank::ranks]  # whatever the number of processes
        loss = (model(mine).squeeze(1) - (mine @ teacher).sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(step, train_loss=loss)  # sweep: of several processes, the first speaks
    held = torch.randn(512, INPUTS, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        final = (net(held).squeeze(1) - (held @ teacher).sin()).square().mean()
    trial.finish(loss=final)  # sweep
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
