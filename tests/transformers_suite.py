"""TimeMAE under `ModelTesterMixin` and `ConfigTester` of transformers; started by `run_transformers_suite.py`."""

import tempfile
import unittest
import unittest.mock

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from transformers.models.auto import modeling_auto
from transformers.testing_utils import CaptureLogger, torch_device
from transformers.utils import logging

from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel


# The suite tells from the names in these tables, not from the classes, which model has no loss and which takes labels.
modeling_auto.MODEL_MAPPING_NAMES["timemae"] = "TimeMAEModel"
modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES["timemae"] = "TimeMAEForTimeSeriesClassification"


class TimeMAEModelTester:
    """
    A small model, and series of unequal lengths with missing values. The first is the shortest, because it is the one
    that `test_batching_equivalence` looks at.
    """

    batch_size = 13
    sequence_length = 28
    num_channels = 3
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    num_patches = 7
    seq_length = num_patches
    is_training = True

    def get_config(self) -> TimeMAEConfig:
        return TimeMAEConfig(
            num_channels=self.num_channels,
            sequence_length=self.sequence_length,
            patch_length=4,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            decoder_num_hidden_layers=2,
            codebook_size=12,
            num_labels=5,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[TimeMAEConfig, dict[str, torch.Tensor]]:
        past_values = floats_tensor([self.batch_size, self.sequence_length, self.num_channels])
        steps = torch.arange(self.sequence_length, device=torch_device)
        lengths = steps[-self.batch_size :] + 1
        observed = (steps < lengths[:, None])[..., None] & (torch.rand_like(past_values) > 0.1)
        return self.get_config(), {"past_values": past_values, "past_observed_mask": observed}


class TimeMAEPreTrainingTester(TimeMAEModelTester):
    """Pre-training with a given mask; attentions and hidden states are those of the three visible patches."""

    seq_length = 3

    def prepare_config_and_inputs_for_common(self):
        config, inputs = super().prepare_config_and_inputs_for_common()
        inputs["masking_noise"] = floats_tensor([self.batch_size, self.num_patches])
        return config, inputs


class TimeMAESuite(ModelTesterMixin):
    test_resize_embeddings = False  # there is no vocabulary

    def test_model_get_set_embeddings(self):
        """The input embeddings are a convolution; the suite expects `nn.Embedding`."""
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            self.assertIsInstance(model.get_input_embeddings(), torch.nn.Conv1d)
            embeddings = torch.nn.Conv1d(1, 10, kernel_size=2)
            model.set_input_embeddings(embeddings)
            self.assertIs(model.get_input_embeddings(), embeddings)
            self.assertIsNone(model.get_output_embeddings())


class TimeMAEModelTest(TimeMAESuite, unittest.TestCase):
    all_model_classes = (TimeMAEModel, TimeMAEForTimeSeriesClassification)
    additional_model_inputs = ["past_observed_mask"]

    def setUp(self):
        self.model_tester = TimeMAEModelTester()

    def test_config(self):
        ConfigTester(self, config_class=TimeMAEConfig, has_text_modality=False, hidden_size=32).run_common_tests()

    def test_load_with_mismatched_shapes(self):
        """With another number of channels; the suite changes the size of the vocabulary."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        inputs = {name: torch.cat([tensor, tensor], dim=-1) for name, tensor in inputs.items()}
        with tempfile.TemporaryDirectory() as directory:
            TimeMAEForTimeSeriesClassification(config).save_pretrained(directory)
            for model_class in self.all_model_classes:
                with self.assertRaises(RuntimeError):
                    model_class.from_pretrained(directory, num_channels=6)
                with CaptureLogger(logging.get_logger("transformers.modeling_utils")) as captured:
                    model = model_class.from_pretrained(directory, num_channels=6, ignore_mismatched_sizes=True)
                self.assertIn("Reinit due to size mismatch", captured.out)
                self.assertTrue(model.to(torch_device)(**inputs)[0].isfinite().all())


class TimeMAEForPreTrainingTest(TimeMAESuite, unittest.TestCase):
    all_model_classes = (TimeMAEForPreTraining,)
    additional_model_inputs = ["past_observed_mask", "masking_noise"]

    def setUp(self):
        self.model_tester = TimeMAEPreTrainingTester()

    def test_model_outputs_equivalence(self):
        """With `mask` as integers; the suite subtracts outputs, which bool tensors refuse."""
        random_masking = TimeMAEForPreTraining.random_masking

        def with_integers(*args):
            mask, *rest = random_masking(*args)
            return mask.int(), *rest

        with unittest.mock.patch.object(TimeMAEForPreTraining, "random_masking", with_integers):
            super().test_model_outputs_equivalence()

    def test_init_weights_can_init_buffers(self):
        """
        The suite takes buffers for constants. Those of the random tokenizer are drawn, as weights are: of one seed
        they have to be equal.
        """
        config = self.model_tester.get_config()
        with unittest.mock.patch.object(self.model_tester, "get_config", lambda: config):
            config.tokenizer_type = "learned"
            super().test_init_weights_can_init_buffers()
        config.tokenizer_type = "random_projection"
        with torch.device("meta"):
            model = TimeMAEForPreTraining(config)
        model.to_empty(device="cpu")
        drawn = []
        for _ in range(2):
            torch.manual_seed(0)
            model.init_weights()
            drawn.append({name: buffer.clone() for name, buffer in model.random_tokenizer.named_buffers()})
        self.assertEqual(sorted(drawn[0]), ["codebook", "projection"])
        for name, buffer in drawn[0].items():
            self.assertTrue(buffer.equal(drawn[1][name]))
            self.assertAlmostEqual(buffer.std().item(), 1, delta=0.2)
