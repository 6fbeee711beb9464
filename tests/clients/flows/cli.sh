# AWS CLI 1: from a new bucket over a job to a prediction, and the bucket away again.
set -eu
data=$1
aws s3 mb s3://cli-client
aws s3 cp --sse aws:kms "$data" s3://cli-client/in/train.csv
aws s3 ls s3://cli-client/ | grep -q "PRE in/"
aws s3 sync s3://cli-client/in "$2/copy"
cmp "$data" "$2/copy/train.csv"
python -c "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())" \
  "$(aws s3 presign s3://cli-client/in/train.csv)" > "$2/presigned.csv"
cmp "$data" "$2/presigned.csv"
aws s3 sync "$2/copy" "s3://cli-client/a b/ü"
aws s3 mv s3://cli-client/a\ b/ü/train.csv s3://cli-client/moved.csv
[ "$(aws s3api list-objects-v2 --bucket cli-client --query 'Contents[].Key' --output text)" = "in/train.csv	moved.csv" ]
aws s3api get-object --bucket cli-client --key moved.csv --range bytes=0-3 "$2/range"
[ "$(cat "$2/range")" = "$(head -c 4 "$data")" ]
if aws s3api head-object --bucket cli-client --key none 2> "$2/missing"; then exit 1; fi
grep -q 404 "$2/missing"
if aws s3api head-bucket --bucket cli-client --expected-bucket-owner 999999999999 2> "$2/owner"; then exit 1; fi
grep -q 403 "$2/owner"
aws s3 mb s3://cli-versions
aws s3api put-bucket-versioning --bucket cli-versions --versioning-configuration Status=Enabled
aws s3 cp "$data" s3://cli-versions/a
if aws s3 rb --force s3://cli-versions 2> "$2/versions"; then exit 1; fi
grep -q BucketNotEmpty "$2/versions"
[ "$(aws s3api list-object-versions --bucket cli-versions --query 'DeleteMarkers[].Key' --output text)" = a ]
aws sagemaker create-auto-ml-job-v2 --auto-ml-job-name cli-client \
  --auto-ml-job-input-data-config '[{"ChannelType":"training","ContentType":"text/csv;header=present","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://cli-client/in/"}}}]' \
  --output-data-config S3OutputPath=s3://cli-client/out/ \
  --auto-ml-problem-type-config '{"TabularJobConfig":{"TargetAttributeName":"target","Mode":"HYPERPARAMETER_TUNING","ProblemType":"BinaryClassification","CompletionCriteria":{"MaxCandidates":1}}}' \
  --auto-ml-job-objective MetricName=F1 --role-arn arn:aws:iam::123456789012:role/AutoMLExecutionRole
describe() { aws sagemaker describe-auto-ml-job-v2 --auto-ml-job-name cli-client --output text --query "$1"; }
until [ "$(describe AutoMLJobStatus)" != InProgress ]; do sleep 1; done
[ "$(describe AutoMLJobStatus)" = Completed ]
aws sagemaker describe-auto-ml-job-v2 --auto-ml-job-name cli-client --query BestCandidate.InferenceContainers --output json > "$2/containers.json"
aws sagemaker create-model --model-name cli-client --containers "file://$2/containers.json" --execution-role-arn arn:aws:iam::123456789012:role/AutoMLExecutionRole
aws sagemaker create-endpoint-config --endpoint-config-name cli-client \
  --production-variants VariantName=all,ModelName=cli-client,InstanceType=ml.m5.large,InitialInstanceCount=1
aws sagemaker create-endpoint --endpoint-name cli-client --endpoint-config-name cli-client
aws sagemaker wait endpoint-in-service --endpoint-name cli-client
sed -n 2,4p "$data" | sed 's/,[^,]*$//' > "$2/rows.csv"
aws sagemaker-runtime invoke-endpoint --endpoint-name cli-client --content-type text/csv --body "fileb://$2/rows.csv" "$2/answer.csv"
[ "$(wc -w < "$2/answer.csv")" = 3 ]
aws sagemaker delete-endpoint --endpoint-name cli-client
if aws s3 rb s3://cli-client 2> "$2/refused"; then exit 1; fi
grep -q BucketNotEmpty "$2/refused"
aws s3 rb --force s3://cli-client
if aws s3 ls s3://cli-client; then exit 1; fi
