"""What the AWS CLI calls differently from the service models, and commands that it adds.

Data, read by ``aws_operations`` and ``aws_rules``.  A name that stands neither here nor in a model
is refused, so a missing line costs a feature and never a guarantee.
"""

from __future__ import annotations

from collections.abc import Mapping

#: CLI command → service model.
SERVICES: Mapping[str, str] = {
    "s3api": "s3",
    "deploy": "codedeploy",
    "configservice": "config",
    "runtime.sagemaker": "sagemaker-runtime",
}
#: Model names that are no CLI command under that name.
NOT_COMMANDS = frozenset({"s3", "codedeploy", "config"})

#: Global options that pass, with what follows: a value, or nothing.
ALLOWED_GLOBALS: Mapping[str, str] = {
    "region": "value",
    "output": "value",
    "query": "value",
    "color": "value",
    "cli-read-timeout": "value",
    "cli-connect-timeout": "value",
    "cli-binary-format": "value",
    "no-paginate": "flag",
    "no-cli-pager": "flag",
}
#: Global options that don't, with why.
REFUSED_GLOBALS: Mapping[str, str] = {
    "debug": "it prints signed requests; use the command's error message instead",
    "v2-debug": "it prints requests; leave it out",
    "endpoint-url": "requests go to AWS; a person sets c.Egress.upstreams for another server",
    "profile": "there are no profiles here; use --credentials of the magic to choose a credential",
    "no-verify-ssl": "connections are always verified; leave it out",
    "ca-bundle": "connections are verified with the system's certificates; leave it out",
    "no-sign-request": "requests are always signed; leave it out",
    "cli-auto-prompt": "there is no terminal; give all parameters",
    "no-cli-auto-prompt": "there is no prompt anyway; leave it out",
    "cli-error-format": "it is not supported; leave it out",
    "cli-input-yaml": "use --cli-input-json",
    "cli-history": "no history is kept; leave it out",
    "version": "it stands alone: aws --version",
    "help": "use https://docs.aws.amazon.com/cli/latest/reference/",
}

#: Commands that are refused with a reason better than "no such command".
REFUSED_COMMANDS: Mapping[str, str] = {
    "configure": "it reads or changes local settings, of which there are none; set the region with "
    "--region and let a person manage credentials with `jupyter keyless vault`",
    "history": "no history is kept; the audit has a record of each command",
    "login": "credentials come from the vault; a person adds them with `jupyter keyless vault add`",
    "logout": "credentials come from the vault; there is no login to end",
    "sso": "credentials come from the vault; a person adds them with `jupyter keyless vault add`",
    "cli-dev": "it is not supported",
    "alias": "aliases are not supported; write the command out",
    "cloudformation package": "it uploads what a template names; upload with s3 cp instead",
    "cloudformation deploy": "use cloudformation create-change-set and execute-change-set",
    "cloudfront sign": "it signs with a private key",
    "cloudtrail validate-logs": "it is not supported",
    "codeartifact login": "it writes a token into a program's settings",
    "codecommit credential-helper": "it prints a credential",
    "deploy push": "it bundles and uploads a folder; use s3 cp and register-application-revision",
    "deploy register": "it makes a user with keys",
    "deploy install": "it changes this machine",
    "deploy uninstall": "it changes this machine",
    "ec2-instance-connect ssh": "it starts another program",
    "ec2-instance-connect open-tunnel": "it opens a listening port",
    "ecr get-login": "it prints a credential",
    "ecr get-login-password": "it prints a credential",
    "ecr-public get-login-password": "it prints a credential",
    "ecs deploy": "use ecs update-service",
    "ecs execute-command": "it starts another program, which gets the session's token",
    "eks get-token": "it prints a credential",
    "eks update-kubeconfig": "it writes another program's settings",
    "emr ssh": "it starts another program",
    "emr socks": "it starts another program",
    "emr get": "it starts another program",
    "emr put": "it starts another program",
    "emr describe-cluster": "the CLI's own version of it is not checked",
    "emr add-instance-groups": "the CLI's own version of it is not checked",
    "gamelift upload-build": "it uploads a whole folder",
    "gamelift get-game-session-log": "it is not supported",
    "logs start-live-tail": "it never ends; use logs filter-log-events",
    "logs tail": "use logs filter-log-events",
    "rds generate-db-auth-token": "it prints a credential",
    "dsql generate-db-connect-auth-token": "it prints a credential",
    "dsql generate-db-connect-admin-auth-token": "it prints a credential",
    "redshift generate-db-auth-token": "it prints a credential",
    "opsworks register": "it changes machines over SSH",
    "s3 presign": "it prints a link that works for everybody who has it",
    "servicecatalog generate": "it is not supported",
    "signin": "it gives out credentials",
    "ssm start-session": "it starts another program, which gets the session's token",
}

#: Options that the CLI adds or renames: ``service operation`` → names, ``:list`` and ``:flag``
#: where they aren't followed by one value.  From the CLI's own tables.
EXTRA_OPTIONS: Mapping[str, str] = {
    "lambda create-function": "zip-file",
    "lambda publish-layer-version": "zip-file",
    "ec2 run-instances": "count secondary-private-ip-addresses secondary-private-ip-address-count "
    "associate-public-ip-address:flag no-associate-public-ip-address:flag",
    "ec2 authorize-security-group-ingress": "protocol port cidr source-group group-owner",
    "ec2 authorize-security-group-egress": "protocol port cidr source-group group-owner",
    "ec2 revoke-security-group-ingress": "protocol port cidr source-group group-owner",
    "ec2 revoke-security-group-egress": "protocol port cidr source-group group-owner",
    "ec2 create-image": "reboot:flag",
    "ec2 create-network-acl-entry": "ingress:flag",
    "ec2 delete-network-acl-entry": "ingress:flag",
    "ec2 replace-network-acl-entry": "ingress:flag",
    "cloudwatch put-metric-data": "metric-name timestamp unit value dimensions statistic-values "
    "storage-resolution",
    "cloudfront create-invalidation": "paths:list",
    "cloudfront create-distribution": "origin-domain-name default-root-object",
    "cloudfront update-distribution": "default-root-object",
    "ses send-email": "from to:list cc:list bcc:list subject text html",
    "sns subscribe": "notification-endpoint",
    "rekognition compare-faces": "source-image-bytes target-image-bytes",
    "rekognition create-stream-processor": "stream-processor-output",
    "rekognition detect-custom-labels": "image-bytes",
    "rekognition detect-faces": "image-bytes",
    "rekognition detect-labels": "image-bytes",
    "rekognition detect-moderation-labels": "image-bytes",
    "rekognition detect-protective-equipment": "image-bytes",
    "rekognition detect-text": "image-bytes",
    "rekognition index-faces": "image-bytes",
    "rekognition recognize-celebrities": "image-bytes",
    "rekognition search-faces-by-image": "image-bytes",
    "translate import-terminology": "data-file",
    "translate translate-document": "document-content",
    "stepfunctions send-task-success": "task-output",
    "apigateway create-rest-api": "api-version",
    "apigatewayv2 create-api": "api-version",
    "apigatewayv2 update-api": "api-version",
    "codepipeline get-pipeline": "pipeline-version",
    "codepipeline get-action-type": "action-version",
    "eks create-cluster": "kubernetes-version",
    "eks update-cluster-version": "kubernetes-version",
    "eks create-nodegroup": "kubernetes-version",
    "eks update-nodegroup-version": "kubernetes-version",
    "route53 get-traffic-policy": "traffic-policy-version",
    "route53 delete-traffic-policy": "traffic-policy-version",
    "swf register-activity-type": "activity-version",
    "swf register-workflow-type": "workflow-version",
    "sagemaker describe-image-version": "version-number",
    "sagemaker delete-image-version": "version-number",
    "gamelift create-build": "build-version",
    "gamelift update-build": "build-version",
    "gamelift create-script": "script-version",
    "gamelift update-script": "script-version",
    "glue get-unfiltered-table-metadata": "resource-region",
}

#: Options whose value is a URL that the CLI passes on; it fetches the others.
URL_OPTIONS = frozenset(
    {
        ("sqs", "queue-url"),
        ("cloudformation", "template-url"),
        ("cloudformation", "stack-policy-url"),
        ("sns", "notification-endpoint"),
        ("s3api", "website-redirect-location"),
        ("s3", "website-redirect"),
    }
)
