"""Keys of what is learned: the forecaster, how agents, teachers and rivals train it, what it is compared with."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from neurogrid.config.federation import Count, Seconds
from neurogrid.config.section import Name, Section, Share, name_of
from neurogrid.workloads.meters.registry import MODELS

ModelName = Annotated[str, name_of(MODELS)]


class ModelSection(Section):
    """The forecaster."""

    name: ModelName = Field("city_lstm", description="name of the model", examples=[*MODELS.names()])
    params: dict[str, bool | int | float | str] = Field(
        {}, description="settings that another package's model has of its own, by their names"
    )
    hidden: Count = Field(48, description="width of the LSTMs and of the forecast's head")
    layers: Count = Field(1, description="LSTM layers, each of encoder and decoder")
    surge_hidden: Count = Field(48, description="width of the surge head")
    history_slots: Count = Field(24, description="slots of history that the model sees")
    horizon_slots: Count = Field(4, description="slots that it forecasts")
    known_future: bool = Field(
        True, description="the decoder also sees what is known about the target slots: values and profiles of past days"
    )
    residual: bool = Field(
        True, description="forecast the difference from the slot's 28-day median, and from its usual surges"
    )
    quantiles: list[float] = Field(
        [],
        description="probabilities of the quantiles to forecast, like [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]; 0.5 is "
        "among them and is the forecast; empty forecasts one value",
    )

    @model_validator(mode="after")
    def _can_be_built(self) -> "ModelSection":
        spec = MODELS.find(self.name)
        spec.refuse_params(self.params)
        spec.refuse_quantiles(self.quantiles)
        return self


class LocalSection(Section):
    """What an agent does in a round."""

    optimiser: Literal["adam", "sgd"] = Field("adam", description="optimiser; its state is reset in each round")
    steps: Count = Field(40, description="gradient steps in a round")
    batch_size: Count = Field(64, description="windows in a step")
    learning_rate: float = Field(3e-3, gt=0, description="learning rate in the first round")
    final_learning_rate_share: float = Field(
        0.05, gt=0, le=1, description="learning rate in the last round, as a share of the first (cosine)"
    )
    gradient_clip_norm: float = Field(1.0, ge=0, description="L2 norm to clip a step's gradient to; 0 does not clip")
    proximal_mu: float = Field(
        0.0, ge=0, description="FedProx: weight of the distance from the round's first weights; 0 is FedAvg"
    )
    loss: Literal["l1", "huber", "mse"] = Field(
        "l1", description="loss to minimise: l1 suits MAE, mse suits RMSE and sums over households"
    )
    huber_delta: float = Field(
        1.0, gt=0, description="error from which Huber's loss is linear, in standard deviations of the household"
    )
    surge_weight: float = Field(
        1.0, ge=0, description="weight of the surge head's cross-entropy in the loss; 0 does not train the head"
    )
    private_layers: list[str] = Field(
        [], description="layers, or single parameters, that never leave an agent, such as forecast; see docs/rounds.md"
    )
    private_steps: int = Field(
        40, ge=1, le=10_000, description="gradient steps by which an agent fits its private layers, each time"
    )
    distill_weight: float = Field(
        0.0, ge=0, description="weight in the loss of the distance from rounds.teacher's forecast; 0 leaves it out"
    )


class PersonalSection(Section):
    """What each agent makes of the run's last weights for itself; see docs/personal.md."""

    steps: int = Field(
        80,
        ge=0,
        le=100_000,
        description="gradient steps of fine-tuning after the rounds; 0 makes no personal models",
    )
    batch_size: Count = Field(128, description="windows in a step")
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        [5e-3], min_length=1, description="learning rates to try; the best on the agent's validation part is used"
    )
    proximal_mu: float = Field(
        0.0, ge=0, description="Ditto: weight of the distance from the run's last weights; 0 fine-tunes freely"
    )
    candidates: list[Literal["usual", "federated", "personal", "alone"]] = Field(
        ["usual", "federated", "personal"],
        min_length=1,
        description="what an agent chooses from by its own validation part: usual is the slot's 28-day median, alone a "
        "model that it trains from the start",
    )
    alone_steps: int = Field(
        0, ge=0, description="most gradient steps of the candidate alone; 0 is as many as the federation's"
    )
    alone_learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        [1e-3, 3e-3], min_length=1, description="learning rates to try for the candidate alone"
    )
    parts: int = Field(
        4, ge=1, le=10, description="1: an agent takes one candidate whole; 4: it may blend them by quarters, and so on"
    )
    validation_windows: Count = Field(512, description="validation windows of an agent to choose by")

    @field_validator("candidates")
    @classmethod
    def _has_federated(cls, names: list[str]) -> list[str]:
        if "federated" not in names or len(set(names)) < len(names):
            raise ValueError("should name each candidate once, and federated among them: every agent has that")
        return names


class TeacherSection(Section):
    """A model pretrained on households whose residents have consented; see docs/teacher.md. Its loss is `local`'s."""

    id: Name = Field("", description="name of the teacher; empty uses the time of its start")
    households: list[Annotated[str, BeforeValidator(str)]] = Field(
        [], description="ids of the households to train on, with consent of the residents or with public readings"
    )
    share: float = Field(
        0.0, ge=0, le=1, description="instead of a list, share of the usable households to draw, except held-out ones"
    )
    apart: bool = Field(True, description="draw them only from households that are not agents")
    hidden: int = Field(0, ge=0, description="width of the teacher's LSTMs; 0 uses model.hidden")
    layers: int = Field(0, ge=0, description="number of its LSTM layers; 0 uses model.layers")
    ranks: Count = Field(2, description="processes that train together; each needs a Spark slot")
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto uses a GPU if Spark gives each task one")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 is mixed precision; auto uses it on a GPU"
    )
    epochs: Count = Field(12, description="maximum number of epochs")
    epoch_windows: int = Field(65_536, ge=0, description="windows that all ranks together draw in an epoch; 0 uses all")
    batch_size: Count = Field(256, description="windows of all ranks together in a step of the optimiser")
    accumulation: Count = Field(1, description="number of parts into which each rank splits its share of a batch")
    learning_rate: float = Field(3e-3, gt=0, description="learning rate after the warm-up")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the learning rate falls over the steps"
    )
    warmup_share: Share = Field(0.02, description="share of the steps in which the learning rate rises from 0")
    final_learning_rate_share: float = Field(
        0.05, gt=0, le=1, description="learning rate at the end, as a share of learning_rate"
    )
    gradient_clip_norm: float = Field(1.0, ge=0, description="L2 norm to clip a step's gradient to; 0 does not clip")
    patience_epochs: int = Field(
        3, ge=0, description="stop after this many epochs without improvement on held-out time; 0 never stops"
    )
    min_improvement: float = Field(
        0.001, ge=0, lt=1, description="relative fall of the held-out loss that counts as improvement"
    )
    validation_windows: Count = Field(256, description="held-out windows of each household to evaluate an epoch on")
    tries: Count = Field(3, description="how often lost ranks are started before giving up")
    timeout_s: Seconds = Field(120.0, description="how long to wait for slots, and ranks for each other, seconds")


class EvaluationSection(Section):
    """What the model is compared with."""

    comparisons: list[Literal["ridge", "alone", "pooled", "gbm_alone", "gbm_pooled", "parity"]] = Field(
        ["ridge"],
        description="baselines that take longer: ridge (least squares, so for the RMSE), the same model trained alone, "
        "and pooled; gradient boosting for the MAE, alone and pooled, which needs the package lightgbm; and parity: "
        "what held-out households have after some days of own readings",
    )
    alone_steps: int = Field(
        0,
        ge=0,
        description="most gradient steps of each household's own model; 0 is as many as the federation's",
    )
    pooled_steps: int = Field(
        0,
        ge=0,
        description="most gradient steps of the pooled model; 0 is as many as all agents take together",
    )
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(
        [1e-3, 3e-3], min_length=1, description="learning rates to try for these two; the best on validation is used"
    )
