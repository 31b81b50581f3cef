"""TAB-PO's loss in TRL's DPOTrainer, on pairs from `tabpo pairs export --roles`."""

import dataclasses

try:
    import torch
    from trl import DPOConfig, DPOTrainer
    from trl.data_utils import is_conversational
    from trl.models.utils import disable_gradient_checkpointing
    from trl.trainer.utils import selective_log_softmax, use_adapter
except ImportError as error:
    raise ImportError(f"tabpo.TabPOTrainer needs PyTorch and TRL 1.16 or newer: pip install tabpo[trl] ({error})") from error

from tabpo.alignment import ROLES, differs, token_roles
from tabpo.objective import Answer, TabPO, tab_po

_SIDES = ("chosen", "rejected")


@dataclasses.dataclass
class TabPOConfig(DPOConfig):
    """TRL's DPOConfig, with the hyper-parameters of the loss in `tab_po`. Those of DPO's own losses are not used, its
    `beta` included."""

    tab_po: dict = dataclasses.field(default_factory=dict)
    """Fields of `tabpo.objective.TabPO` that differ from their defaults, such as `{"decision": 0.2}`."""


class TabPOTrainer(DPOTrainer):
    """DPOTrainer with TAB-PO's loss in place of DPO's; everything else is TRL's.

    The data set is what `tabpo pairs export --roles` writes, in the form `trl` or `trl-chat`. An answer ends with the
    first token after its text: what a chat template adds beyond that is not trained on, as in `tabpo` itself.

    Differences from a training in `tabpo`: each of an example's pairs is a sequence of its own; the mean is over the pairs
    of a micro-batch; and only text models are supported, with a fast tokenizer.
    """

    def __init__(self, *args, **kwargs):
        config = kwargs.get("args") or (args[2] if len(args) > 2 else None)
        self.tab_po = TabPO(**getattr(config, "tab_po", {}))
        if getattr(config, "precompute_ref_log_probs", False):
            raise ValueError("precompute_ref_log_probs keeps one number for an answer, where TAB-PO needs one for a token")
        super().__init__(*args, **kwargs)
        if self._is_vision_dataset:
            raise ValueError("TabPOTrainer trains text models only")
        self.data_collator = _Collator(self.data_collator)

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        own = ["weight", *(f"{side}_{what}" for side in _SIDES for what in ("token_roles", "differs"))]
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *own]))

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        first = next(iter(dataset))
        if "chosen_token_roles" in first:
            return dataset
        if "chosen_roles" not in first:
            raise ValueError(
                f"the {dataset_name} data set has no column `chosen_roles`: write it with `tabpo pairs export --roles`"
            )
        texts = dataset.map(lambda example: {f"{side}_text": _text(example[side]) for side in _SIDES})
        chat = is_conversational(first)
        prepared = super()._prepare_dataset(texts, processing_class, args, dataset_name)
        tokenizer = getattr(processing_class, "tokenizer", processing_class)
        return prepared.map(lambda example: _with_roles(example, tokenizer, chat))

    def _compute_loss(self, model, inputs, return_outputs):
        mode = "train" if self.model.training else "eval"
        policy, outputs = _log_probs(model, inputs)
        reference = self._reference(inputs) if self.tab_po.preference > 0 else None
        count = len(inputs["weight"])
        answers = []
        for row in range(2 * count):
            # The prediction for a token stands before it.
            places = inputs["completion_mask"][row, 1:].nonzero().flatten()
            answers.append(
                Answer(
                    policy=policy[row, places],
                    reference=None if reference is None else reference[row, places],
                    roles=[ROLES[role] for role in inputs["token_roles"][row, 1:][places].tolist()],
                    differs=inputs["differs"][row, 1:][places].bool().tolist(),
                )
            )
        pairs = list(zip(answers[:count], answers[count:], strict=True))
        terms = tab_po(pairs, inputs["weight"].tolist(), self.tab_po)
        for name, term in terms.items():
            if name != "loss" and torch.is_tensor(term):
                self._metrics[mode][f"tab_po/{name}"].append(self.accelerator.gather(term.detach()).mean().item())
        for side, part in zip(_SIDES, (answers[:count], answers[count:]), strict=True):
            log_prob = torch.stack([answer.policy.sum() for answer in part]).detach()
            self._metrics[mode][f"logps/{side}"].append(self.accelerator.gather(log_prob).mean().item())
        return (terms["loss"], outputs) if return_outputs else terms["loss"]

    def _reference(self, inputs):
        """The reference's log-probabilities: of the given model, or of this one without its adapter."""
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            if self.ref_model is not None:
                return _log_probs(self.ref_model, inputs)[0]
            model = self.accelerator.unwrap_model(self.model)
            with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
                return _log_probs(self.model, inputs)[0]


def _log_probs(model, inputs):
    """The log-probability of every token but the first, in single precision, and the model's outputs."""
    outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    return selective_log_softmax(outputs.logits[:, :-1].float(), inputs["input_ids"][:, 1:]), outputs


class _Collator:
    """TRL's collator, with roles, differing tokens and weights of pairs."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, examples):
        batch = self.inner(examples)
        batch["weight"] = torch.tensor([float(example.get("weight", 1.0)) for example in examples])
        for what in ("token_roles", "differs"):
            rows = torch.zeros_like(batch["completion_mask"])
            values = [example[f"{side}_{what}"] for side in _SIDES for example in examples]
            for row, mask, found in zip(rows, batch["completion_mask"], values, strict=True):
                # A sequence may have been cut at either end.
                kept = int(mask.sum())
                cut_in_front = getattr(self.inner, "truncation_mode", "keep_start") == "keep_end"
                row[mask.bool()] = row.new_tensor(found[len(found) - kept :] if cut_in_front else found[:kept])
            batch[what] = rows
        return batch


def _text(answer):
    """The text of an answer, which in a conversation is a list of one message."""
    return answer if isinstance(answer, str) else answer[0]["content"]


def _with_roles(example, tokenizer, chat):
    """Cuts both answers after the token that ends them, and adds the roles of their tokens and which of them differ."""
    result = {}
    for side in _SIDES:
        text, ids = example[f"{side}_text"], example[f"{side}_ids"]
        rendered = (
            tokenizer.apply_chat_template(example["prompt"] + example[side], tokenize=False)
            if chat
            else example["prompt"] + text + tokenizer.eos_token
        )
        encoded = tokenizer(rendered, add_special_tokens=not chat, return_offsets_mapping=True)
        if encoded["input_ids"][-len(ids) :] != ids:
            raise ValueError(f"pair `{example.get('id')}`: this tokenizer gives other tokens for the text than TRL has")
        start = rendered.rfind(text)
        if start < 0:
            raise ValueError(f"pair `{example.get('id')}`: the chat template changes the {side} answer")
        places = [(begin - start, end - start) for begin, end in encoded["offset_mapping"][-len(ids) :]]
        last = next((t for t, (begin, _) in enumerate(places) if begin >= len(text)), len(ids) - 1)
        roles = token_roles(example[f"{side}_roles"], places[:last]) + ["end"]
        result[f"{side}_ids"] = ids[: last + 1]
        result[f"{side}_token_roles"] = [ROLES.index(role) for role in roles]
    flags = differs(result["chosen_ids"], result["rejected_ids"])
    return {**result, "chosen_differs": flags[0], "rejected_differs": flags[1]}
