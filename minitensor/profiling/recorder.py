"""What the engine calls instead of an op while a profile is open: it times the op and runs it.

**Time is exclusive.** Each call has a frame on a stack, and the time of a call is that from its
start to its end, without the frames inside it. So the times of all calls, of the recorder itself
and of what lies between the calls add up to the time of the block.
"""

from __future__ import annotations

import time
from threading import get_ident

from minitensor.backend import compute_dtype, device_of, is_array, is_floating, memory, wait
from minitensor.engine.autograd import Scatter, raw
from minitensor.engine.observer import Observer
from minitensor.profiling import products

__all__ = ["SUMS", "Recorder"]

SUMS = "gradient sums"  # the name of ``backward_pass``, and of each addition to a gradient within
clock = time.perf_counter


class Frame:
    """A call that is going on. inside: time of the frames within it, and what it took to
    time them.
    """

    __slots__ = ("began", "start", "inside", "sums")

    def __init__(self, began):
        self.began = self.start = began
        self.inside = 0.0
        self.sums = 0.0  # that part of ``inside`` which went into backward passes


class Recorder(Observer):
    """Times the ops of one thread for the profiles that are open around them.

    opened: the ``Measured`` of a new profile. outer: the observer around it, if there is one. A
    recorder is replaced: on the same stack this one works for the profiles of both.
    """

    def __init__(self, opened, outer=None):
        self.thread = get_ident()
        self.profiles, self.frames = (opened,), [Frame(0.0)]  # at the bottom: a frame of no call
        if isinstance(outer, Recorder) and outer.thread == self.thread:
            self.profiles, self.frames = (*(one for one in outer.profiles if one.is_open), opened), outer.frames
            outer = outer.outer
        super().__init__(outer)
        self.synchronize = any(one.synchronize for one in self.profiles)

    def idle(self):
        """Whether nobody wants to know: this is another thread, or all profiles have been
        closed.
        """
        if get_ident() == self.thread:
            for one in self.profiles:
                if one.is_open:
                    return False
        return True

    # --- what the engine calls --------------------------------------------------------------------

    def forward(self, op, args, params):
        """The result of an op."""
        if self.idle():
            return super().forward(op, args, params)
        frame, out = self.begin(), None
        try:
            out = super().forward(op, args, params)
            return out
        finally:
            end = self.end(frame)
            made, multiplied = 0, None
            if out is not None and getattr(op, "kernels", True):  # without a kernel the ops of its definition do all
                made = _bytes(out._array, (*args, *params.values()) if params else args)
                if (count := products.forward(op, args, params)) and is_floating(out.dtype):
                    multiplied = (out.device, compute_dtype(out.dtype)), count
            self.settle(frame, end, (op.name, "op", "forward"), made, multiplied)

    def steps(self, serve, pull_back):
        """The functions of a backward pass; pulling back is timed under the name of the op whose
        gradient it is.
        """
        serve, pull_back = super().steps(serve, pull_back)
        if self.idle():
            return serve, pull_back

        def timed(node, gradient, sums, needed, anomaly):
            frame, seen, worked = self.begin(), Sums(self, sums, gradient), False
            try:
                pull_back(node, gradient, seen, needed, anomaly)
                worked = True
            finally:
                end = self.end(frame)
                pullback, made, multiplied = node.pullback, 0, None
                again = not hasattr(pullback, "op")  # a checkpoint: ``fn`` runs again
                if worked and not again and not sums.recorded:  # else all is done by ops
                    made = seen.made
                    if count := products.backward(node, needed):
                        multiplied = (device_of(raw(gradient)), node.dtype), count
                if again:
                    for one in self.listening(frame):
                        one.recomputed += end - frame.start - frame.sums
                self.settle(frame, end, (pullback.op_name, "op", "backward"), made, multiplied)

        return serve, timed

    def part(self, name, function, args, keywords):
        """The result of a function that is no op."""
        if self.idle():
            return super().part(name, function, args, keywords)
        frame = self.begin()
        try:
            return super().part(name, function, args, keywords)
        finally:
            self.settle(frame, self.end(frame), (name, "other", ""))

    def aside(self, function):
        """The result of ``function``, which belongs to the profile and not to the block."""
        if self.idle():
            return super().aside(function)
        frame = self.begin()
        try:
            return super().aside(function)
        finally:
            self.end(frame)
            self.settle(frame, frame.start, None)

    # --- frames -----------------------------------------------------------------------------------

    def begin(self):
        """A new frame on the stack."""
        if self.synchronize:
            wait()  # for what is the time of the frame below
        frame = Frame(clock())
        self.frames.append(frame)
        frame.start = clock()
        return frame

    def end(self, frame):
        """Take the frame off the stack; the time at which its call ended."""
        if self.synchronize:
            wait()
        end = clock()
        while self.frames.pop() is not frame:  # an interrupt may have left others above it
            pass
        return end

    def settle(self, frame, end, key, made=0, multiplied=None):
        """Tell the profiles of a call that has ended, and the frame around it how long that
        took.

        key: name, kind ("op" or "other") and, of an op, "forward" or "backward"; None: no call.
        """
        listening = self.listening(frame)
        if key is not None:
            own = end - frame.start - frame.inside
            for one in listening:
                one.tally(key).add(own, made, multiplied)
        around, now = self.frames[-1], clock()
        around.inside += now - frame.began
        if key is not None and key[0] == SUMS:
            around.sums += now - frame.began
        for one in listening:
            one.overhead += now - end + frame.start - frame.began

    def listening(self, frame):
        """The profiles that were open at the start of the frame and are so now."""
        return [one for one in self.profiles if one.is_open and one.start <= frame.began]


class Sums:
    """The sums of a backward pass, as the pullback of one node sees them: additions are timed, and
    what it made is counted.
    """

    __slots__ = ("recorder", "sums", "recorded", "given", "seen", "made")
    homes: dict = {}  # no gradient is written where it belongs while somebody looks

    def __init__(self, recorder, sums, gradient):
        self.recorder, self.sums, self.recorded = recorder, sums, sums.recorded
        self.given, self.seen, self.made = (gradient,), set(), 0

    def add(self, node, value, new=False):
        """As ``GradientSums.add``."""
        frame = self.recorder.begin()
        try:
            self.sums.add(node, value, new)
        finally:
            end = self.recorder.end(frame)
            if id(value) not in self.seen:
                self.seen.add(id(value))
                self.made += _bytes(raw(value.values if isinstance(value, Scatter) else value), self.given)
            self.recorder.settle(frame, end, (SUMS, "other", ""))


def _bytes(array, given):
    """Bytes of new memory that an array takes: none if it lies in that of something that was given,
    and no more than there are if its elements are repeated.
    """
    owner = memory.owner_of(array)
    for value in map(raw, given):
        if is_array(value) and memory.owner_of(value) is owner:
            return 0
    return min(array.nbytes, owner.nbytes)
