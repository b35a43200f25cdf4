//! Questions and orders about members: status, hashes, alarms, leadership. Most concern the one
//! member asked: see [`Client::only`].

pub use crate::api::etcdserverpb::{
    AlarmMember, AlarmType, HashKvResponse as KvHash, Member, StatusResponse as MemberStatus,
};
use crate::{
    Client, Error,
    api::etcdserverpb::{
        self as pb, alarm_request::AlarmAction, cluster_client::ClusterClient, maintenance_client::MaintenanceClient,
    },
    kv::Header,
};

/// The members, and who was asked.
///
/// Made by [`Client::members`], whose example shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Members {
    /// Who answered.
    pub header: Header,
    /// In no particular order.
    pub members: Vec<Member>,
}

impl Client {
    /// Version, size, leader, term and index of the member in use. Answers without a quorum.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for endpoint in client.endpoints() {
    ///     let status = client.only(endpoint.url)?.status().await?;
    ///     println!("{:x} follows {:x}", status.header.unwrap_or_default().member_id, status.leader);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self) -> Result<MemberStatus, Error> {
        let call = |channel, request| async move { MaintenanceClient::new(channel).status(request).await };
        self.read(pb::StatusRequest {}, call).await
    }

    /// Who belongs to the cluster.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for member in client.members().await?.members {
    ///     println!("{:x} {} at {:?}", member.id, member.name, member.client_ur_ls);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn members(&self) -> Result<Members, Error> {
        let call = |channel, request| async move { ClusterClient::new(channel).member_list(request).await };
        let response = self.read(pb::MemberListRequest::default(), call).await?;
        Ok(Members { header: response.header.unwrap_or_default(), members: response.members })
    }

    /// The alarms that are raised, on all members.
    ///
    /// # Errors
    /// Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for raised in client.alarms().await? {
    ///     println!("{:?} on {:x}", raised.alarm(), raised.member_id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn alarms(&self) -> Result<Vec<AlarmMember>, Error> {
        self.alarm(AlarmAction::Get, AlarmMember::default()).await
    }

    /// Takes an alarm back; [`AlarmType::None`] is any, member 0 is all. Returns those taken back.
    /// The same if it happens twice.
    ///
    /// # Errors
    /// As [`Client::put`](Client::put).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for raised in client.alarms().await? {
    ///     client.disarm(raised).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disarm(&self, alarm: AlarmMember) -> Result<Vec<AlarmMember>, Error> {
        self.alarm(AlarmAction::Deactivate, alarm).await
    }

    /// A hash of all keys and versions up to `revision` (0: now) of the member in use. Equal on all
    /// members that are equal.
    ///
    /// # Errors
    /// Final: [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange), compacted or in the future.
    /// Retryable: no member answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// let mut hashes = Vec::new();
    /// for endpoint in client.endpoints() {
    ///     hashes.push(client.only(endpoint.url)?.hash_kv(0).await?.hash);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn hash_kv(&self, revision: i64) -> Result<KvHash, Error> {
        let call = |channel, request| async move { MaintenanceClient::new(channel).hash_kv(request).await };
        self.read(pb::HashKvRequest { revision }, call).await
    }

    /// Makes another member the leader of the cluster. Only the leader does this: ask it alone
    /// ([`Client::only`]).
    ///
    /// # Errors
    /// The member asked does not lead, or the other one is no member. Outcome unknown: see
    /// [`Client::status`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// let leader = client.status().await?.leader;
    /// let members = client.members().await?.members;
    /// for member in members.iter().filter(|member| member.id == leader) {
    ///     let other = members.iter().find(|other| other.id != leader).expect("there are several");
    ///     client.only(member.client_ur_ls[0].clone())?.move_leader(other.id).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn move_leader(&self, member: u64) -> Result<(), Error> {
        let call = |channel, request| async move { MaintenanceClient::new(channel).move_leader(request).await };
        self.write(pb::MoveLeaderRequest { target_id: member }, call).await.map(drop)
    }

    /// Frees space that the store of the member in use holds without need. It may not answer others
    /// meanwhile.
    ///
    /// # Errors
    /// As the member says.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example(client: conclave_client::Client) -> Result<(), conclave_client::Error> {
    /// for endpoint in client.endpoints() {
    ///     client.only(endpoint.url)?.defragment().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn defragment(&self) -> Result<(), Error> {
        let call = |channel, request| async move { MaintenanceClient::new(channel).defragment(request).await };
        self.write(pb::DefragmentRequest {}, call).await.map(drop)
    }

    async fn alarm(&self, action: AlarmAction, alarm: AlarmMember) -> Result<Vec<AlarmMember>, Error> {
        let call = |channel, request| async move { MaintenanceClient::new(channel).alarm(request).await };
        let request = pb::AlarmRequest { action: action.into(), member_id: alarm.member_id, alarm: alarm.alarm };
        let response = match action {
            AlarmAction::Get => self.read(request, call).await,
            _ => self.repeatable(request, call).await,
        };
        Ok(response?.alarms)
    }
}
