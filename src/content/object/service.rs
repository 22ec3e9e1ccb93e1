//! The services that have buckets, and how a client of each is made.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, RetryConfig};

use super::bucket::Client;
use super::http::Connector;
use super::settings::{Azure, Encryption, Gcs, S3, Service};

/// Variables of the environment that say who asks, where the settings do not (AWS SDKs and Tools Reference
/// Guide, "Settings reference").
const AWS_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
];
/// The same for the region; the first that is set counts.
const AWS_REGIONS: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const DEFAULT_REGION: &str = "us-east-1";
/// The client's name for how the server encrypts.
const SSE: &str = "aws_server_side_encryption";
/// The same for Azure (Azure SDK documentation, "EnvironmentCredential", and workload identity).
const AZURE_VARIABLES: &[&str] = &[
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
];

impl Service {
    /// How an error names the bucket, its kind included.
    pub(super) fn place(&self) -> String {
        match self {
            Self::S3(S3 { bucket, endpoint, .. }) => {
                let at = endpoint.as_deref().unwrap_or("Amazon S3");
                format!("the bucket {bucket} at {at}")
            }
            Self::Gcs(Gcs { bucket, .. }) => format!("the bucket {bucket} at Google Cloud Storage"),
            Self::Azure(Azure { account, container, endpoint, .. }) => {
                let at = endpoint.as_deref().unwrap_or("Azure");
                format!("the container {container} of the account {account} at {at}")
            }
        }
    }

    /// The storage class of objects, where one is set.
    pub(super) fn storage_class(&self) -> Option<&str> {
        match self {
            Self::S3(S3 { storage_class, .. }) | Self::Gcs(Gcs { storage_class, .. }) => {
                storage_class.as_deref()
            }
            Self::Azure(_) => None,
        }
    }

    /// An endpoint that would send everything readable by all, where that is not allowed.
    pub(super) fn forbidden_http(&self) -> Option<&str> {
        let (endpoint, allowed) = match self {
            Self::S3(S3 { endpoint, allow_http, .. })
            | Self::Azure(Azure { endpoint, allow_http, .. }) => {
                (endpoint.as_deref()?, *allow_http)
            }
            Self::Gcs(_) => return None,
        };
        (!allowed && endpoint.starts_with("http://")).then_some(endpoint)
    }

    /// A client. It repeats nothing and bounds nothing but connecting: the bucket does.
    pub(super) fn client(
        &self,
        connect_timeout: Duration,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> object_store::Result<Arc<dyn Client>> {
        let options = ClientOptions::new()
            .with_connect_timeout(connect_timeout)
            .with_timeout_disabled()
            .with_allow_http(self.forbidden_http().is_none());
        let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        Ok(match self {
            Self::S3(s3) => Arc::new(
                s3.builder(variable)
                    .with_client_options(options)
                    .with_retry(once)
                    .with_http_connector(Connector::default())
                    .build()?,
            ),
            Self::Gcs(gcs) => Arc::new(
                gcs.builder(variable)
                    .with_client_options(options)
                    .with_retry(once)
                    .with_http_connector(Connector::default())
                    .build()?,
            ),
            Self::Azure(azure) => Arc::new(
                azure
                    .builder(variable)
                    .with_client_options(options)
                    .with_retry(once)
                    .with_http_connector(Connector::default())
                    .build()?,
            ),
        })
    }
}

impl S3 {
    fn builder(&self, variable: &dyn Fn(&str) -> Option<String>) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new();
        match (&self.access_key, &self.secret_key) {
            (Some(id), Some(secret)) => {
                builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
            }
            (None, _) | (_, None) => {
                for name in AWS_VARIABLES {
                    if let Some(value) = variable(name)
                        && let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
                    {
                        builder = builder.with_config(key, value);
                    }
                }
            }
        }
        let region = self.region.clone();
        let region = region.or_else(|| AWS_REGIONS.iter().find_map(|name| variable(name)));
        builder = builder
            .with_bucket_name(&self.bucket)
            .with_region(region.unwrap_or_else(|| DEFAULT_REGION.to_owned()))
            .with_virtual_hosted_style_request(!self.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_tagging(true);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(self.endpoint_url(endpoint));
        }
        match (self.sse, &self.sse_kms_key, &self.sse_customer_key) {
            (Some(Encryption::S3), ..) => match SSE.parse() {
                Ok(key) => builder.with_config(key, "AES256"),
                Err(_) => builder,
            },
            (Some(Encryption::Kms), Some(key), _) => builder.with_sse_kms_encryption(key),
            (Some(Encryption::Customer), _, Some(key)) => {
                builder.with_ssec_encryption(key.reveal())
            }
            (None | Some(Encryption::Kms | Encryption::Customer), ..) => builder,
        }
    }

    /// The endpoint as the client wants it: with the bucket, where that stands in the host name.
    fn endpoint_url(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        match endpoint.split_once("://") {
            Some((scheme, host)) if !self.path_style => {
                format!("{scheme}://{}.{host}", self.bucket)
            }
            _ => endpoint.to_owned(),
        }
    }
}

impl Gcs {
    fn builder(&self, variable: &dyn Fn(&str) -> Option<String>) -> GoogleCloudStorageBuilder {
        let builder = GoogleCloudStorageBuilder::new().with_bucket_name(&self.bucket);
        match &self.service_account_file {
            Some(path) => builder.with_service_account_path(path),
            None => match variable("GOOGLE_APPLICATION_CREDENTIALS") {
                Some(path) => builder.with_application_credentials(path),
                None => builder,
            },
        }
    }
}

impl Azure {
    fn builder(&self, variable: &dyn Fn(&str) -> Option<String>) -> MicrosoftAzureBuilder {
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_disable_tagging(true);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        match &self.access_key {
            Some(key) => builder.with_access_key(key.reveal()),
            None => {
                for name in AZURE_VARIABLES {
                    if let Some(value) = variable(name)
                        && let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>()
                    {
                        builder = builder.with_config(key, value);
                    }
                }
                builder
            }
        }
    }
}
