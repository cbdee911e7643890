"""Alarms, each with the page of docs/runbooks that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm.

    Attributes:
        name: Name.
        says: What it means, in a sentence.
        metric: What is looked at.
        at: The threshold.
        below: Alarm below it instead of at or above it.
        minutes: For how many minutes it must hold.
        of: Among how many, the last ones; 0: they follow each other.
        silence: Whether no data is an alarm, too.
        runbook: Name of its page of docs/runbooks; "": the alarm's own.
    """

    name: str
    says: str
    metric: cloudwatch.IMetric
    at: float
    below: bool = False
    minutes: int = 5
    of: int = 0
    silence: bool = False
    runbook: str = ""

    @property
    def page(self) -> str:
        """Path of the page that says what to do."""
        return f"{RUNBOOKS}/{self.runbook or self.name}.md"


class Alarms(Construct):
    """Every alarm, told to one topic.

    Args:
        scope: Parent.
        id: Name in the stack.
        instance: First part of the alarms' names.
        email: Who is told; "": nobody, and the topic waits for subscribers.
        alarms: The alarms.
    """

    def __init__(
        self, scope: Construct, id: str, *, instance: str, email: str, alarms: Sequence[Alarm]
    ) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", topic_name=f"{instance}-alarms", enforce_ssl=True)
        # A topic with a policy of its own takes from nobody who is not in it.
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsTell",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
            )
        )
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))
        told = actions.SnsAction(self.topic)
        self.alarms = []
        for alarm in alarms:
            made = cloudwatch.Alarm(
                self,
                alarm.name,
                alarm_name=f"{instance}-{alarm.name}",
                alarm_description=f"{alarm.says} What to do: {alarm.page}",
                metric=alarm.metric,
                threshold=alarm.at,
                evaluation_periods=alarm.of or alarm.minutes,
                datapoints_to_alarm=alarm.minutes,
                comparison_operator=_less if alarm.below else _more,
                treat_missing_data=_bad if alarm.silence else _fine,
            )
            made.add_alarm_action(told)
            made.add_ok_action(told)
            self.alarms.append(made)


_less = cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
_more = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
_bad = cloudwatch.TreatMissingData.BREACHING
_fine = cloudwatch.TreatMissingData.NOT_BREACHING
MINUTE = Duration.minutes(1)
