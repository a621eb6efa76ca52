"""A backward pass in Python, in the order and with the lifetimes of autograd's own engine.

Autograd's engine asks the driver for the streams of a CUDA device and refuses where there is none, and on fake tensors
it never adds gradients in place. So the graph is walked here. What decides the memory, and is kept:

- nodes run in falling order of their sequence number, as soon as every gradient that they wait for has arrived;
  AccumulateGrad at once
- a node's gradient inputs live until its outputs are summed to the shapes and cast to the types that its edges expect
- then its saved tensors die: nothing but the graph holds a node, so dropping the node frees them (before torch 2.13
  those of a node that leads to an autograd.Function in Python only after that one has run: a bound from above)
- a second gradient is added into the first one if nothing else uses that one and it is no view, else into a new tensor:
  a view keeps its base, so that its storage has two owners (the gradient of a matrix is a view of its transpose's, that
  of a product's input one of its rows)
- a parameter takes over a gradient that nothing else uses and that has its layout, else a copy

(torch/csrc/autograd: engine.cpp, input_buffer.cpp, functions/accumulate_grad.h of torch 2.15.)
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import GraphExecGroup

Node = Any  # torch.autograd.graph.Node lacks the private attributes that are read here
Edge = tuple[Node, int]


class _Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def _python_nodes_live_on() -> bool:
    """Whether the Python object of an autograd.Function keeps its node alive when the graph drops it: from torch 2.13.

    Before, the object is left without its edges and cannot be run.
    """
    with torch.enable_grad():
        output = _Same.apply(torch.zeros((), requires_grad=True, device="cpu"))
    node: Node = output.grad_fn
    del output
    try:
        return len(node._input_metadata) == 1
    except RuntimeError:
        return False


PYTHON_NODES_LIVE_ON = _python_nodes_live_on()


def run_backward(
    loss: Tensor,
    *,
    on_node: Callable[[int], None] = lambda sequence: None,
    on_gradient: Callable[[Tensor], None] = lambda gradient: None,
) -> None:
    """Accumulate the gradients of a scalar into the leaves, and free its graph.

    The loss is detached in place: its graph must have no other owner, or the saved tensors outlive their nodes.

    Args:
        on_node: called with the sequence number of each node before it runs.
        on_gradient: called with the gradient that a leaf now owns.
    """
    root: Node = loss.grad_fn
    with torch.no_grad(), GraphExecGroup():  # the group makes checkpoint recompute each region once
        gradient = torch.ones_like(loss)
        loss.detach_()
        walk = _Walk(root, on_node, on_gradient)
        del root
        walk.run(gradient)


class _Buffers:
    """The gradients that wait for their nodes, and how often each storage is among them."""

    def __init__(self) -> None:
        self.of_node: dict[Node, list[Tensor | None]] = {}
        self.uses: Counter[int] = Counter()

    def take(self, node: Node) -> list[Tensor | None]:
        gradients = self.of_node.pop(node, [None] * len(node._input_metadata))
        for gradient in gradients:
            self._count(gradient, -1)
        return gradients

    def hold(self, outputs: list[Tensor | None]) -> None:
        """Count tensors that will be added one by one: until then, they are in use."""
        for output in outputs:
            self._count(output, +1)

    def add(self, edge: Edge, gradient: Tensor | None) -> None:
        """Move a held tensor to the input of a node."""
        if gradient is None:
            return
        node, index = edge
        self._count(gradient, -1)
        gradients = self.of_node.setdefault(node, [None] * len(node._input_metadata))
        first = gradients[index]
        if first is not None:
            reusable = self.uses[_storage(first)] == 1 and _may_be_reused(first)
            self._count(first, -1)
            gradient = first.add_(gradient) if reusable else first + gradient
        gradients[index] = gradient
        self._count(gradient, +1)

    def is_used(self, gradient: Tensor) -> bool:
        return self.uses[_storage(gradient)] > 0

    def _count(self, gradient: Tensor | None, change: int) -> None:
        if gradient is not None:
            self.uses[_storage(gradient)] += change


class _Walk:
    """One backward pass over the graph of `root`."""

    def __init__(self, root: Node, on_node: Callable[[int], None], on_gradient: Callable[[Tensor], None]) -> None:
        self.on_node = on_node
        self.on_gradient = on_gradient
        self.waits = _dependencies(root)
        self.buffers = _Buffers()
        self.ready: list[tuple[int, int, Node]] = []
        self.arrivals = 0
        self.root = root
        self.held: dict[Node, list[Node]] = {}
        """Nodes that have run and that alone keep a node written in Python alive, by that node."""

    def run(self, gradient: Tensor) -> None:
        root, self.root = self.root, None
        self.buffers.add((root, 0), gradient)
        self._push(root)
        del root, gradient
        while self.ready:
            self._run_next()

    def _push(self, node: Node) -> None:
        self.arrivals += 1  # a tie-break, so that the heap never compares nodes
        heapq.heappush(self.ready, (-node._sequence_nr(), self.arrivals, node))

    def _run_next(self) -> None:
        node = heapq.heappop(self.ready)[-1]
        edges: list[Edge] = list(node.next_functions)
        gradients = self.buffers.take(node)
        del self.waits[node]
        if hasattr(node, "variable"):
            self._accumulate(node.variable, gradients[0])
            return
        self.on_node(node._sequence_nr())
        outputs = _call(node, gradients)
        _validate(outputs, edges)
        if not PYTHON_NODES_LIVE_ON:
            self._hold(node, edges)
        del gradients, node  # the order of the engine: inputs die, saved tensors die, outputs move on
        self.buffers.hold(outputs)
        for index, edge in enumerate(edges):
            output, outputs[index] = outputs[index], None
            if edge[0] is not None:
                self.buffers.add(edge, output)
                self._arrived(edge[0])

    def _hold(self, node: Node, edges: list[Edge]) -> None:
        """Keep a node, and what keeps it, until the nodes in Python that it leads to have run."""
        owners = [*self.held.pop(node, ()), node]
        for target, _ in edges:
            if target is not None and not callable(target):
                self.held.setdefault(target, []).extend(owners)

    def _arrived(self, target: Node) -> None:
        self.waits[target] -= 1
        if self.waits[target] == 0:
            self._push(target)

    def _accumulate(self, leaf: Tensor, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        if leaf.grad is not None:
            leaf.grad += gradient
        elif not self.buffers.is_used(gradient) and gradient.stride() == leaf.stride():
            leaf.grad = gradient
        else:
            leaf.grad = torch.empty_like(leaf).copy_(gradient)
        self.on_gradient(leaf.grad)


def _dependencies(root: Node) -> dict[Node, int]:
    """How many edges lead to each node of the graph. Holding the nodes keeps their Python identity."""
    waits: dict[Node, int] = {root: 0}
    stack = [root]
    while stack:
        for target, _ in stack.pop().next_functions:
            if target is None:
                continue
            if target not in waits:
                waits[target] = 0
                stack.append(target)
            waits[target] += 1
    return waits


def _call(node: Node, gradients: list[Tensor | None]) -> list[Tensor | None]:
    """Run one node. A node written in Python (torch.autograd.Function) expects zeros for missing gradients."""
    if not callable(node):
        filled = [
            torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device) if gradient is None else gradient
            for gradient, meta in zip(gradients, node._input_metadata, strict=True)
        ]
        outputs = node.apply(*filled)
    else:
        outputs = node(*gradients)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def _validate(outputs: list[Tensor | None], edges: list[Edge]) -> None:
    """Give outputs the shape and type of the edges that they go to, in place: broadcasts are summed, types cast."""
    for index, (target, number) in enumerate(edges):
        output = outputs[index]
        if target is None or output is None:
            outputs[index] = None
            continue
        meta = target._input_metadata[number]
        if output.shape != torch.Size(meta.shape):
            output = outputs[index] = output.sum_to_size(meta.shape)
        if output.dtype != meta.dtype:
            outputs[index] = output.to(meta.dtype)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _may_be_reused(tensor: Tensor) -> bool:
    """Whether a tensor owns its storage alone and its elements fill it without gaps or overlaps.

    (can_accumulate_inplace in torch/csrc/autograd/input_buffer.cpp.)
    """
    if tensor._is_view():
        return False
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
