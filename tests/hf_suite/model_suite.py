"""Becomes `tests/test_subject.py`: the suite's mixins, and what they want to know of a model for translation."""

import unittest
from typing import Any

import torch
from transformers.models.auto import modeling_auto
from transformers.testing_utils import torch_device

from . import test_fsdp_mixin, test_tensor_parallel_mixin
from .parallel_translation import TranslationModelWithoutTargets
from .subjects import SIZES, subject
from .test_configuration_common import ConfigTester
from .test_fsdp_mixin import FSDPTesterMixin
from .test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask
from .test_tensor_parallel_mixin import TensorParallelTesterMixin
from .test_training_mixin import TrainingTesterMixin

# From these lists the suite knows which class has no head and which one takes labels.
if subject().is_ours:
    modeling_auto.MODEL_MAPPING_NAMES["sineformer"] = subject().model_class.__name__
    modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES["sineformer"] = subject().translation_class.__name__
# The tests in several processes run for these models alone.
test_fsdp_mixin.FSDP_DISTRIBUTED_TEST_MODEL_TYPES.add("sineformer")
test_tensor_parallel_mixin.TP_DISTRIBUTED_TEST_MODEL_TYPES.add("sineformer")


class TranslationModelTester:
    """Builds the small configurations and batches that the mixins ask for."""

    batch_size = 3
    seq_length = 7
    encoder_seq_length = decoder_seq_length = seq_length
    is_training = True
    hidden_size = SIZES["d_model"]
    num_hidden_layers = SIZES["encoder_layers"]
    num_attention_heads = SIZES["encoder_attention_heads"]
    vocab_size = SIZES["vocab_size"]
    pad_token_id = SIZES["pad_token_id"]

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent
        self.base_model_class = subject().model_class
        self.causal_lm_class = TranslationModelWithoutTargets

    def get_config(self) -> Any:
        return subject().config_class(**SIZES)

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        shape = [self.batch_size, self.seq_length]
        inputs = {
            "input_ids": ids_tensor(shape, self.vocab_size).clamp(3),
            "attention_mask": random_attention_mask(shape),
            "decoder_input_ids": ids_tensor(shape, self.vocab_size).clamp(3),
            "decoder_attention_mask": torch.ones(shape, dtype=torch.long, device=torch_device),
        }
        config = self.get_config()
        config.dropout = config.attention_dropout = 0.1
        return config, inputs


class TranslationModelTest(
    ModelTesterMixin,
    TrainingTesterMixin,
    FSDPTesterMixin,
    TensorParallelTesterMixin,
    unittest.TestCase,
):
    all_model_classes = (subject().model_class, subject().translation_class)
    is_encoder_decoder = True
    # The test of initialisation leaves out models that came before 2023, as Marian did.
    test_can_init_all_missing_weights_before_2023 = subject().is_ours
    model_tester = None

    def setUp(self) -> None:
        self.model_tester = TranslationModelTester(self)
        self.config_tester = ConfigTester(self, config_class=subject().config_class)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    @unittest.skip("the archive holds no GenerationTesterMixin; tests/modeling compares generation with Marian's")
    def test_generation_tester_mixin_inheritance(self) -> None:
        """The original wants those tests to be there."""

    def _create_text_training_batch(self, batch_size: int, seq_length: int, vocab_size: int) -> dict[str, torch.Tensor]:
        """Teach what the test asks for afterwards: to go on from the first token, which is also the start token.

        The test is made for models that continue a prompt. Here the prompt is the source, and the rest the target.
        """
        tokens = super()._create_text_training_batch(batch_size, seq_length + 1, vocab_size)["input_ids"]
        prompt_only = torch.zeros(batch_size, seq_length, dtype=torch.long)
        prompt_only[:, 0] = 1
        return {"input_ids": tokens[:, :-1], "attention_mask": prompt_only, "labels": tokens[:, 1:].contiguous()}
