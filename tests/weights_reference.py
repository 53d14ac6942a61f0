"""Writes small files of weights as PyTorch does, and the same tensors as safetensors beside each.

    python weights_reference.py FOLDER

`NAME.pth` is to be read as `NAME.safetensors`. What is in `refused/` is to be refused; `refused/marker-*` would be made by
whoever runs what those files ask for.
"""

import builtins
import collections
import os
import pickle
import sys
import zipfile
from pathlib import Path

import safetensors.torch
import torch

folder = Path(sys.argv[1])
refused = folder / "refused"
refused.mkdir()
torch.manual_seed(1)


def write(name, saved, expected=None, **options):
    """`expected` where what is read has other names than what is saved."""
    torch.save(saved, folder / f"{name}.pth", **options)
    expected = saved if expected is None else expected
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in expected.items()}
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
        self.norm = torch.nn.BatchNorm1d(4)
        self.blocks = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

    def forward(self, x, size: tuple[int, int] = (1, 1), mode: str = "mean (of all)"):
        return self.blocks(torch.nn.functional.relu(self.norm(self.linear(x))))


net = Net()
state = net.state_dict()
assert state["norm.num_batches_tracked"].dtype == torch.int64
old = {"_use_new_zipfile_serialization": False}

write("zip", state)
write("stream", state, **old)
for protocol in [3, 4, 5]:
    write(f"zip-{protocol}", state, pickle_protocol=protocol)
    write(f"stream-{protocol}", state, pickle_protocol=protocol, **old)

optimiser = torch.optim.Adam(net.parameters())
net(torch.randn(5, 3)).sum().backward()
optimiser.step()
for key in ["state_dict", "model", "model_state_dict", "net", "ema"]:
    checkpoint = {"epoch": 3, "best": 0.5, "arch": "net", key: state, "optimizer": optimiser.state_dict()}
    write(f"nested-{key}", checkpoint, state)
    write(f"nested-{key}-stream", checkpoint, state, **old)
write("nested-twice", {"model": {"state_dict": state, "step": 3}, "ema": {"module": dict(net.named_buffers())}}, state)
# Under a key of one's own: names say it, and what the optimiser remembers is no weight.
checkpoint = {"eye": state, "optimizer": optimiser.state_dict(), "optimizers": [optimiser.state_dict()], "epoch": 3}
write("nested-own-key", checkpoint, {f"eye.{name}": tensor for name, tensor in state.items()})
write("named-as-training", {"optimizer.weight": torch.arange(3.0), "scaler": torch.ones(2)})
write("named-as-a-key", {"model": torch.arange(3.0), "state_dict": torch.arange(4.0)})
write("parameters", dict(net.named_parameters()))

base = torch.arange(24.0).reshape(4, 6)
views = {
    "all": base,
    "shared": base,
    "transposed": base.t(),
    "rows": base[1:3],
    "every-second": base[:, ::2],
    "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
    "scalar": torch.tensor(2.5),
    "element": base[2, 3],
    "empty": torch.zeros(0, 3),
}
kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
numbers = {str(kind): (torch.randn(2, 3) * 9).abs().to(kind) for kind in kinds} | {"bool": torch.tensor([True, False])}
numbers["extremes"] = torch.tensor([float("inf"), -0.0, 1e-42, 3.4e38])
for name, tensors in [("views", views), ("numbers", numbers)]:
    write(name, tensors)
    write(f"{name}-stream", tensors, **old)

# TorchScript: its parameters.
for name, kind in [("scripted", None), ("traced-half", torch.float16)]:
    model = Net().eval()
    script = torch.jit.script(model) if kind is None else torch.jit.trace(model, torch.zeros(5, 3)).to(kind)
    script.save(str(folder / f"{name}.pth"))
    tensors = {name: tensor.detach().clone() for name, tensor in script.named_parameters()}
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")


class Asks:
    """Unpickled by Python, it makes the marker."""

    def __init__(self, function, *arguments):
        self.asked = (function, arguments)

    def __reduce__(self):
        return self.asked


marker = lambda number: str(refused / f"marker-{number}")
# Old protocols call the module of `eval` `__builtin__`.
asking = {
    "posix.system": Asks(os.system, f"touch {marker(1)}"),
    ".eval": Asks(builtins.eval, f"open({marker(2)!r}, 'w')"),
    ".exec": Asks(builtins.exec, f"open({marker(3)!r}, 'w')"),
}
for name, asks in asking.items():
    name = f"{name}={len(list(refused.iterdir()))}"
    saved = {"weight": torch.zeros(2), "deep": [{"er": (asks,)}]}
    torch.save(saved, refused / f"{name}-zip.pth")
    torch.save(saved, refused / f"{name}-zip-4.pth", pickle_protocol=4)
    torch.save(saved, refused / f"{name}-stream.pth", **old)
    (refused / f"{name}-plain-0.pth").write_bytes(pickle.dumps(saved["deep"], protocol=0))
    (refused / f"{name}-plain-5.pth").write_bytes(pickle.dumps(saved["deep"], protocol=5))
torch.save(net, refused / "__main__.Net=whole.pth")
torch.save({"weight": torch.zeros(2), "counter": collections.Counter()}, refused / "collections.Counter=in-it.pth")
torch.save({"epoch": 3}, refused / "holds no tensors=epoch.pth")
torch.save({"weight": torch.zeros(2, dtype=torch.complex64)}, refused / "ComplexFloatStorage=complex.pth")
torch.save({"weight": torch.eye(2).to_sparse()}, refused / "_rebuild_sparse_tensor=sparse.pth")


# TorchScript that writes a file when it is loaded, if it is let.
class Loads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x, size: int = 3):
        return self.linear(x) * size


torch.jit.script(Loads()).save(str(folder / "loads.pt"))
with zipfile.ZipFile(folder / "loads.pt") as source:
    call = 'torch.from_file("{}", True, 4)'
    for name, old_code, new_code in [
        ("default", "size: int=3", f"size: Tensor={call.format(marker(8))}"),
        ("constant", "  training : bool\n", f"  training : bool\n  z : Final[Tensor] = {call.format(marker(9))}\n"),
    ]:
        with zipfile.ZipFile(refused / f"calls something=torch-script-{name}.pth", "w") as archive:
            for entry in source.infolist():
                content = source.read(entry)
                if entry.filename.endswith("code/__torch__.py"):
                    changed = content.decode().replace(old_code, new_code)
                    assert changed != content.decode()
                    content = changed.encode()
                archive.writestr(entry.filename, content)
(folder / "loads.pt").unlink()
