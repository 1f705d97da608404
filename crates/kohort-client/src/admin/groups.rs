//! Groups: list, describe, delete.

use kohort_group::consumer_protocol::Assignment;
use kohort_group::messages::TopicPartition;

use crate::net::wire::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};
use crate::net::wire::{GroupId, text};

use super::{Admin, AdminError, GroupDescription, GroupListing, MemberDescription, Whom, verdict};

impl Admin {
    /// All groups of all brokers, sorted by id.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let mut groups = vec![];
        for id in self.brokers().await?.brokers.into_keys() {
            self.know_broker(id).await?;
            let request = |_: &_| ListGroupsRequest::default();
            let answer =
                self.ask("list groups", &Whom::Broker(id), request, |answer| Some(answer.error_code)).await?;
            verdict(|| "list groups".to_owned(), answer.error_code, None)?;
            groups.extend(answer.groups.iter().map(|group| GroupListing {
                group: group.group_id.0.as_str().to_owned(),
                protocol_type: group.protocol_type.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
            }));
        }
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(groups)
    }

    /// One group; a group that does not exist is `Dead`.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, AdminError> {
        let what = || format!("describe group `{group}`");
        let request = |_: &_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
        let whom = Whom::Coordinator(group.to_owned());
        let answer = self
            .ask(&what(), &whom, request, |answer| answer.groups.first().map(|group| group.error_code))
            .await?;
        let missing = || AdminError::Refused { what: what(), code: -1, message: None };
        let told = answer.groups.first().ok_or_else(missing)?;
        verdict(what, told.error_code, told.error_message.as_ref().map(|text| text.as_str()))?;
        let members = told.members.iter().map(|member| {
            // Not every protocol type puts Kafka's assignments there.
            let assignment = Assignment::decode(&member.member_assignment).ok();
            let mut assignment: Vec<TopicPartition> =
                assignment.into_iter().flat_map(|assignment| assignment.partitions).collect();
            assignment.sort();
            MemberDescription {
                member_id: member.member_id.as_str().to_owned(),
                instance_id: member.group_instance_id.as_ref().map(|id| id.as_str().to_owned()),
                client_id: member.client_id.as_str().to_owned(),
                client_host: member.client_host.as_str().to_owned(),
                assignment,
            }
        });
        Ok(GroupDescription {
            group: told.group_id.0.as_str().to_owned(),
            state: told.group_state.as_str().to_owned(),
            protocol_type: told.protocol_type.as_str().to_owned(),
            assignor: told.protocol_data.as_str().to_owned(),
            members: members.collect(),
        })
    }

    /// Deletes a group and its offsets. It must have no members (code 68).
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn delete_group(&self, group: &str) -> Result<(), AdminError> {
        let what = || format!("delete group `{group}`");
        let request = |_: &_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(group))]);
        let whom = Whom::Coordinator(group.to_owned());
        let answer = self
            .ask(&what(), &whom, request, |answer| answer.results.first().map(|group| group.error_code))
            .await?;
        answer.results.iter().try_for_each(|group| verdict(what, group.error_code, None))
    }
}
