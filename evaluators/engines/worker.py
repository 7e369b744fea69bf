"""What offmodel adds to vLLM's workers, in each of their processes. vLLM imports it there, and calls it by name."""

import multiprocessing
import os
from threading import Thread
from typing import Any

from vllm.platforms import current_platform

if current_platform.is_cpu():
    from evaluators.engines import cpu_lora

    cpu_lora.install()


def end_with_parent() -> None:
    """End this process if its parent ends. vLLM's own watch does not wake a worker that waits for another node, which
    would keep its memory for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:  # the engine's own process
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, name="end_with_parent", daemon=True).start()


end_with_parent()


class WorkerExtension:
    """Methods of vLLM's workers, for `collective_rpc`."""

    get_model: Any

    def remove_lora_from_the_head(self) -> None:
        # Adapters are trained on linear layers, never on the output head. On the CPU vLLM's LoRA layer of the head
        # fails for log-probabilities of a prompt.
        from vllm.lora.layers import LogitsProcessorWithLoRA

        for module in self.get_model().modules():  # Where the head is depends on the model; some have none.
            if isinstance(getattr(module, "logits_processor", None), LogitsProcessorWithLoRA):
                module.logits_processor = module.logits_processor.base_layer

    def repack_tied_head(self) -> None:
        # On the CPU vLLM keeps a packed copy of the output head. A head that is tied to the input embedding has no
        # weights in a checkpoint, so a reload skips it and would leave the old copy in use.
        head = self.get_model().lm_head
        head.quant_method.process_weights_after_loading(head)
