"""Deploys template.yaml into ministack as `sam deploy` does on AWS: secrets into SSM, code into S3, then CloudFormation.

The template is whole: no resource is left out. What ministack cannot take as it is, is changed in `as_ministack_takes_it`
and nowhere else.
"""

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import WaiterError

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "deploy/gate"))

from gate import binaries_of, integrations, of_type, router, transformed  # noqa: E402, F401

STACK = "backtalk-rehearsal"
REGION = "us-east-1"
CODE = "backtalk-rehearsal-code"


class Cloud:
    """AWS's services, all at one address of this machine."""

    def __init__(self, endpoint):
        def service(name):
            # What the model takes to answer is waited for, and no call is made twice.
            config = Config(read_timeout=120, retries={"total_max_attempts": 1}, proxies={}, s3={"addressing_style": "path"})
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
            return boto3.client(name, endpoint_url=endpoint, config=config, **keys)

        self.endpoint = endpoint
        self.cloudformation = service("cloudformation")
        self.functions = service("lambda")
        self.logs = service("logs")
        self.s3 = service("s3")
        self.sqs = service("sqs")
        self.ssm = service("ssm")


def keep_secrets(cloud, secrets):
    """As `put` in docs/deploy/aws.md does."""
    for name, value in secrets.items():
        cloud.ssm.put_parameter(Name=f"/backtalk/{name}", Type="SecureString", Value=value)


def deploy(cloud, binaries, parameters):
    """Makes the stack of template.yaml with functions from the folder `binaries`; answers its outputs."""
    template = (REPOSITORY / "template.yaml").read_text()
    output = transformed(template)
    names = binaries_of(template)
    as_ministack_takes_it(output, parameters)
    cloud.s3.create_bucket(Bucket=CODE)
    upload(cloud, binaries, names.values())
    for function, binary in names.items():
        output["Resources"][function]["Properties"]["Code"] = {"S3Bucket": CODE, "S3Key": f"{binary}.zip"}
    cloud.s3.put_object(Bucket=CODE, Key="template.json", Body=json.dumps(output))
    cloud.cloudformation.create_stack(
        StackName=STACK,
        TemplateURL=f"{cloud.endpoint}/{CODE}/template.json",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    try:
        created = cloud.cloudformation.get_waiter("stack_create_complete")
        created.wait(StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    except WaiterError as error:
        events = cloud.cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [event for event in events if "FAILED" in event["ResourceStatus"]]
        reasons = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
        raise SystemExit("\n".join(["the stack is not made", *reasons])) from error
    (stack,) = cloud.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def as_ministack_takes_it(output, parameters):
    """All in which this deployment differs from one on AWS."""
    # Its gateway does not stream: it hands over what the function streamed, in one piece.
    for _, integration in integrations(output).values():
        if integration.pop("responseTransferMode", None) == "STREAM":
            uri = integration["uri"]["Fn::Sub"]
            uri = uri.replace("2021-11-15", "2015-03-31").replace("response-streaming-invocations", "invocations")
            integration["uri"]["Fn::Sub"] = uri
    # It takes the value of a parameter for text, also where a number is asked for.
    concurrency = parameters.get("WorkerConcurrency", output["Parameters"]["WorkerConcurrency"]["Default"])
    for mapping in of_type(output, "AWS::Lambda::EventSourceMapping").values():
        mapping["Properties"]["ScalingConfig"]["MaximumConcurrency"] = int(concurrency)


def upload(cloud, binaries, names):
    def put(name):
        cloud.s3.put_object(Bucket=CODE, Key=f"{name}.zip", Body=zipped(binaries / name))

    with ThreadPoolExecutor(2) as pool:
        # So that what one of them raises is raised here.
        list(pool.map(put, names))


def zipped(binary):
    """As Lambda takes it. Half of a debug build is for debuggers."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, binary], check=True)
        code = Path(stripped.name).read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        bootstrap = zipfile.ZipInfo("bootstrap")
        bootstrap.external_attr = 0o755 << 16
        file.writestr(bootstrap, code, zipfile.ZIP_DEFLATED, compresslevel=1)
    return archive.getvalue()
