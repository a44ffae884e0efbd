//! The verbs.

use std::path::PathBuf;

use hns_client::{Client, Kind};
use hns_net::IfAddr;
use serde_json::{Value, json};

use crate::check::check;
use crate::conf::{Conf, Outline, Subnet, decode, valid_attachments, version_of};
use crate::delegate::{Delegate, Lease};
use crate::environment::{Attachment, Environment, Verb};
use crate::failure::Failure;
use crate::object::Object;
use crate::request::{MARKS, OWNER, Request, endpoint_id};
use crate::result::Added;
use crate::version::Version;

/// Where the daemon listens unless somebody says otherwise.
pub const SOCKET: &str = "/run/hns/hns.sock";

/// One call of the plugin.
pub struct Call<'a> {
    pub verb: Verb,
    pub environment: &'a Environment,
    /// The standard input.
    pub input: &'a [u8],
}

/// How a call ended: the document for the standard output, if any.
pub type Outcome = Result<Option<Value>, Failure>;

impl Call<'_> {
    /// Performs the verb.
    pub async fn perform(&self) -> Outcome {
        if self.verb == Verb::Version {
            return Ok(Some(self.versions()));
        }
        let outline = Outline::read(decode(self.input)?)?;
        if outline.version < self.verb.since() {
            let (verb, conf, since) = (self.verb, outline.version, self.verb.since());
            return Err(Failure::VerbOfLater { verb, conf, since });
        }
        match self.verb {
            Verb::Add => self.add(&outline).await.map(Some),
            Verb::Del => self.del(&outline).await.map(|()| None),
            Verb::Check => self.check(&outline).await.map(|()| None),
            Verb::Gc => self.gc(&outline).await.map(|()| None),
            Verb::Status => self.status(&outline).await.map(|()| None),
            Verb::Version => Ok(Some(self.versions())),
        }
    }

    /// The version that an error is written in.
    pub fn spoken_version(&self) -> String {
        let spoken = decode(self.input).ok().and_then(|document| version_of(&document).ok());
        spoken.unwrap_or(Version::NEWEST).text().to_owned()
    }

    /// The answer is in the input's version, whether or not we know it (1.1.0, "VERSION").
    fn versions(&self) -> Value {
        let document = decode(self.input).unwrap_or_default();
        let asked = Object::of_map(&document).text("cniVersion").ok().flatten();
        let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let spoken = asked.filter(plain).unwrap_or(Version::NEWEST.text());
        json!({"cniVersion": spoken, "supportedVersions": Version::texts().collect::<Vec<_>>()})
    }

    async fn add(&self, outline: &Outline) -> Result<Value, Failure> {
        let attachment = self.environment.attachment()?;
        let namespace = self.environment.namespace()?;
        let conf = Conf::read(outline, self.environment.args())?;
        let delegate = self.delegate(outline)?;
        let lease = delegate.as_ref().map(Delegate::add).transpose()?;
        let request = Request {
            attachment: &attachment,
            network: &outline.name,
            namespace,
            conf: &conf,
            lease: lease.as_ref(),
        };
        let client = self.client(outline);
        let added = match client.create_endpoint(&request.document()).await {
            Ok(answer) => {
                let sandbox = namespace.to_string_lossy();
                let read = Added::from_answer(answer, &attachment.interface, &sandbox)
                    .map_err(|source| Failure::Answer { source })
                    .and_then(|added| within_ranges(added, &conf, lease.as_ref()));
                if read.is_err() {
                    // The runtime's own DEL comes too; a failure of this one is no news to it.
                    drop(remove(&client, &attachment, &outline.name).await);
                }
                read
            }
            Err(error) => Err(error.into()),
        };
        if added.is_err()
            && let Some(delegate) = &delegate
        {
            // The failure above is the one to tell.
            drop(delegate.tell(Verb::Del));
        }
        Ok(added?.render(outline.version))
    }

    async fn del(&self, outline: &Outline) -> Result<(), Failure> {
        let attachment = self.environment.attachment()?;
        // The port first: an address must not be given to another while it still answers here.
        remove(&self.client(outline), &attachment, &outline.name).await?;
        self.tell_delegate(outline)
    }

    async fn check(&self, outline: &Outline) -> Result<(), Failure> {
        let attachment = self.environment.attachment()?;
        let namespace = self.environment.namespace()?;
        self.tell_delegate(outline)?;
        check(&self.client(outline), outline, &attachment, namespace).await
    }

    /// Removes our attachments to this network that the runtime no longer knows, as many as possible.
    async fn gc(&self, outline: &Outline) -> Result<(), Failure> {
        let valid = valid_attachments(outline)?;
        let client = self.client(outline);
        let mut failures = Vec::new();
        for document in client.list_where(Kind::Endpoint, &json!({"Owner": OWNER})).await? {
            let Some(attachment) = marked(&document, &outline.name) else { continue };
            if !valid.contains(&attachment)
                && let Err(failure) = remove(&client, &attachment, &outline.name).await
            {
                failures.push(failure);
            }
        }
        failures.extend(self.tell_delegate(outline).err());
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Failure::Leftovers { failures }),
        }
    }

    async fn status(&self, outline: &Outline) -> Result<(), Failure> {
        self.client(outline).version().await.map_err(|source| Failure::Unavailable { source })?;
        self.tell_delegate(outline)
    }

    fn client(&self, outline: &Outline) -> Client {
        let named = outline.socket.as_deref().or(self.environment.socket());
        Client::new(named.map_or_else(|| PathBuf::from(SOCKET), PathBuf::from))
    }

    fn delegate<'c>(&'c self, outline: &'c Outline) -> Result<Option<Delegate<'c>>, Failure> {
        let plugin = outline.delegate.as_deref();
        plugin.map(|plugin| Delegate::find(plugin, self.environment, self.input)).transpose()
    }

    fn tell_delegate(&self, outline: &Outline) -> Result<(), Failure> {
        self.delegate(outline)?.map_or(Ok(()), |delegate| delegate.tell(self.verb))
    }
}

/// Removes an attachment's endpoint; one that is gone already is as good.
async fn remove(client: &Client, attachment: &Attachment, network: &str) -> Result<(), Failure> {
    let id = endpoint_id(attachment, network).to_string();
    match client.remove(Kind::Endpoint, &id).await {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The attachment that an endpoint of ours on this network stands for.
fn marked(document: &Value, network: &str) -> Option<Attachment> {
    let marks = document.get("AdditionalParams")?.get(MARKS)?;
    let text = |key: &str| marks.get(key).and_then(Value::as_str);
    if text("NetworkName")? != network {
        return None;
    }
    Some(Attachment {
        container_id: text("ContainerId")?.to_owned(),
        interface: text("IfName")?.parse().ok()?,
    })
}

/// Refuses an address from beyond the configuration's ranges: the network was there before, with other ranges.
fn within_ranges(added: Added, conf: &Conf, lease: Option<&Lease>) -> Result<Added, Failure> {
    let ranged = conf.subnets.iter().any(|subnet| subnet.range.is_some());
    if lease.is_some() || !ranged || !conf.addresses.is_empty() {
        return Ok(added);
    }
    let mut addresses = added.ips.iter().map(|ip| ip.address);
    let outside = addresses.find(|address| {
        let of_prefix = |subnet: &&Subnet| subnet.prefix.contains(address.address());
        let mut subnets = conf.subnets.iter().filter(of_prefix).peekable();
        subnets.peek().is_some() && !subnets.any(|subnet| subnet.offers(address.address()))
    });
    match outside.map(IfAddr::address) {
        None => Ok(added),
        Some(address) => Err(Failure::OutsideRanges { address, network: added.network }),
    }
}
